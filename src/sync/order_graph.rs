//! The orders in which locks are taken, by their classes, and the first one that inverts another. It compiles on any host, where tests
//! compare it with a naive graph.
//!
//! A class is what locks have in common that are constructed at the same place, as in Linux's lockdep. If a lock of class B is taken while
//! one of class A is held, the graph has the edge from A to B. A cycle of edges means that threads can wait for each other for ever, even if
//! none has done so. Two locks of one class have no edge; of them, the order of their addresses counts: a cycle needs both orders.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use heapless::Vec;

/// The most classes.
pub(super) const MAX_CLASSES: usize = 256;

/// The most edges that a report shows.
pub(super) const MAX_PATH: usize = 6;

const WORD_BITS: usize = u64::BITS as usize;

/// The number of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClassId(pub(super) u16);

/// The classes, each with a key other than 0. A class stays.
pub(super) struct Classes([AtomicUsize; MAX_CLASSES]);

impl Classes {
    pub(super) const fn new() -> Classes {
        Classes([const { AtomicUsize::new(0) }; MAX_CLASSES])
    }

    /// Returns the class of a key, which is made if there is none yet. `is_same` tells for another key whether it names the same class.
    /// `None` if the table is full. **Context:** any.
    pub(super) fn enter(&self, key: usize, is_same: impl Fn(usize) -> bool) -> Option<ClassId> {
        let slot = self.0.iter().position(|slot| {
            let present = match slot.load(Ordering::Relaxed) {
                0 => slot.compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed).err().unwrap_or(key),
                present => present,
            };
            present == key || is_same(present)
        });
        slot.map(|slot| ClassId(slot as u16))
    }

    /// Returns the key of a class. **Context:** any.
    pub(super) fn key(&self, class: ClassId) -> usize {
        self.0[usize::from(class.0)].load(Ordering::Relaxed)
    }

    /// Returns the number of classes. **Context:** any.
    pub(super) fn count(&self) -> usize {
        self.0.iter().take_while(|slot| slot.load(Ordering::Relaxed) != 0).count()
    }
}

/// That a lock is taken while another one is held, by their classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    first: ClassId,
    then: ClassId,
    /// Whether the second lock is of the same class and has the lower address.
    is_descending: bool,
}

impl Order {
    /// Returns the order of two locks, each with its class and its address.
    pub(super) fn of(first: (ClassId, usize), then: (ClassId, usize)) -> Order {
        Order { first: first.0, then: then.0, is_descending: first.0 == then.0 && then.1 < first.1 }
    }

    /// Returns whether both locks are of one class.
    pub(super) fn is_of_one_class(self) -> bool {
        self.first == self.then
    }
}

/// The orders that the graph has, to be asked without a lock.
pub(super) struct KnownOrders {
    pairs: [[AtomicU64; MAX_CLASSES / WORD_BITS]; MAX_CLASSES],
    descending: [AtomicU64; MAX_CLASSES / WORD_BITS],
}

impl KnownOrders {
    pub(super) const fn new() -> KnownOrders {
        KnownOrders {
            pairs: [const { [const { AtomicU64::new(0) }; MAX_CLASSES / WORD_BITS] }; MAX_CLASSES],
            descending: [const { AtomicU64::new(0) }; MAX_CLASSES / WORD_BITS],
        }
    }

    fn bit(&self, order: Order) -> (&AtomicU64, u64) {
        let then = usize::from(order.then.0);
        let row = match order.is_descending {
            true => &self.descending,
            false => &self.pairs[usize::from(order.first.0)],
        };
        (&row[then / WORD_BITS], 1 << (then % WORD_BITS))
    }

    /// Returns whether an order was added. **Context:** any.
    pub(super) fn contains(&self, order: Order) -> bool {
        let (word, bit) = self.bit(order);
        word.load(Ordering::Relaxed) & bit != 0
    }

    /// Adds an order. **Context:** any.
    pub(super) fn add(&self, order: Order) {
        let (word, bit) = self.bit(order);
        word.fetch_or(bit, Ordering::Relaxed);
    }
}

/// The numbers of edges that follow each other, in their order.
pub(super) type Path = Vec<u16, MAX_PATH>;

/// What an order is to the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// The graph has it already.
    Known,
    /// The graph has it now.
    New,
    /// The graph has no room for it.
    Full,
    /// It closes a cycle, so the graph does not take it: these edges lead from its second class to its first. Of a longer path, the first ones.
    Inverts(Path),
}

/// The orders in which locks were taken, each with an evidence of when that was.
pub(super) struct OrderGraph<E, const EDGES: usize>(Vec<(Order, E), EDGES>);

impl<E, const EDGES: usize> OrderGraph<E, EDGES> {
    const FITS: () = assert!(EDGES < u16::MAX as usize);

    pub(super) const fn new() -> OrderGraph<E, EDGES> {
        OrderGraph(Vec::new())
    }

    /// Adds an order, with what shows it.
    pub(super) fn add(&mut self, order: Order, evidence: E) -> Added {
        let () = Self::FITS;
        if self.0.iter().any(|(known, _)| *known == order) {
            return Added::Known;
        }
        let inverted = if order.is_of_one_class() { self.opposite(order) } else { self.path(order) };
        match inverted {
            Some(path) => Added::Inverts(path),
            None if self.0.push((order, evidence)).is_ok() => Added::New,
            None => Added::Full,
        }
    }

    /// Returns the number of orders.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns what shows an edge.
    pub(super) fn evidence(&self, edge: u16) -> Option<&E> {
        self.0.get(usize::from(edge)).map(|(_, evidence)| evidence)
    }

    /// Returns the other order of two locks of one class.
    fn opposite(&self, order: Order) -> Option<Path> {
        let opposite = Order { is_descending: !order.is_descending, ..order };
        let edge = self.0.iter().position(|(known, _)| *known == opposite)?;
        let mut path = Path::new();
        let _ = path.push(edge as u16);
        Some(path)
    }

    /// Returns the shortest path from the second class of an order to the first.
    fn path(&self, order: Order) -> Option<Path> {
        // For each class one more than the edge by which it was reached, or 0.
        let mut reached_by = [0_u16; MAX_CLASSES];
        let mut reached = Vec::<ClassId, MAX_CLASSES>::new();
        let _ = reached.push(order.then);
        let mut next = 0;
        while let Some(class) = reached.get(next).copied() {
            next += 1;
            for (edge, (known, _)) in (1..).zip(&self.0) {
                let by = &mut reached_by[usize::from(known.then.0)];
                if known.first != class || known.is_of_one_class() || known.then == order.then || *by != 0 {
                    continue;
                }
                *by = edge;
                if known.then == order.first {
                    return Some(self.walk(order, &reached_by));
                }
                let _ = reached.push(known.then);
            }
        }
        None
    }

    /// Returns the path by which the first class of an order was reached.
    fn walk(&self, order: Order, reached_by: &[u16; MAX_CLASSES]) -> Path {
        let mut backward = Vec::<u16, MAX_CLASSES>::new();
        let mut class = order.first;
        while class != order.then {
            let edge = reached_by[usize::from(class.0)] - 1;
            let _ = backward.push(edge);
            class = self.0[usize::from(edge)].0.first;
        }
        backward.iter().rev().copied().take(MAX_PATH).collect()
    }
}

#[cfg(test)]
mod tests;
