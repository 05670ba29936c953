//! Counts of the heap, and the check of its tables.

use core::fmt;

use super::allocator::Heap;
use super::backing::Backing;
use super::size_class::SizeClass;
use super::slab::Slab;

/// The objects of one class on one node. Exact while no CPU allocates or frees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassStats {
    /// The node of the depot.
    pub node: usize,
    /// The class.
    pub class: SizeClass,
    /// How many slabs it has.
    pub slabs: usize,
    /// Objects that are allocated or in a magazine, of this depot's slabs.
    pub taken: usize,
    /// Objects in the magazines of the depot, of any depot's slabs.
    pub in_depot: usize,
}

impl ClassStats {
    /// The bytes of the slabs.
    pub const fn bytes(&self) -> usize {
        self.slabs * self.class.slab_bytes()
    }
}

/// Why the tables of the heap are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inconsistent {
    /// The bitmap of a slab of this class has another number of objects than its state word.
    Slab(SizeClass),
    /// A depot of this class has another number of slabs with all of their objects than it has counted.
    Whole(SizeClass),
    /// The slabs of a depot of this class lack more objects than are taken.
    Taken(SizeClass),
}

impl Inconsistent {
    /// What is wrong, in words.
    pub const fn message(&self) -> &'static str {
        match self {
            Inconsistent::Slab(_) => "the bitmap and the state word of a slab differ",
            Inconsistent::Whole(_) => "the number of whole slabs of a depot is wrong",
            Inconsistent::Taken(_) => "the number of objects taken from a depot is wrong",
        }
    }
}

impl fmt::Display for Inconsistent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Inconsistent::Slab(class) | Inconsistent::Whole(class) | Inconsistent::Taken(class)) = self;
        write!(f, "heap: {}, of objects of {} bytes", self.message(), class.size())
    }
}

impl core::error::Error for Inconsistent {}

impl<B: Backing> Heap<B> {
    /// The counts of each class on each node that has slabs or cached objects.
    pub fn class_stats(&self) -> impl Iterator<Item = ClassStats> {
        let nodes = 0..self.nodes();
        let all = nodes.flat_map(|node| SizeClass::all().map(move |class| (node, class)));
        all.filter_map(|(node, class)| {
            let depot = self.depot(node, class)?;
            let (slabs, taken, in_depot) =
                depot.with(|stock| (stock.slab_count, stock.taken, stock.cached(class)));
            (slabs > 0 || in_depot > 0).then_some(ClassStats { node, class, slabs, taken, in_depot })
        })
    }

    /// The number of large objects, and of their frames.
    pub fn large_stats(&self) -> (usize, usize) {
        self.large()
    }

    /// Frames of magazines and of the records of slabs.
    pub fn metadata_frames(&self) -> usize {
        self.chunks.lock().frames()
    }

    /// Checks the tables. Exact while no CPU allocates or frees.
    ///
    /// # Errors
    /// The first inconsistency.
    pub fn validate(&self) -> Result<(), Inconsistent> {
        for (depot, class) in self.depots() {
            depot.with(|stock| {
                let (mut whole, mut missing, mut count) = (0, 0, 0);
                for slab in stock.slabs.iter() {
                    // SAFETY: slabs in the list are valid, and the depot is locked.
                    if !unsafe { Slab::is_consistent(slab) } {
                        return Err(Inconsistent::Slab(class));
                    }
                    // SAFETY: slabs in the list are valid, and the depot is locked.
                    let state = unsafe { Slab::state(slab) };
                    whole += usize::from(state.is_whole());
                    missing += class.objects() - state.free();
                    count += 1;
                }
                if whole != stock.whole {
                    return Err(Inconsistent::Whole(class));
                }
                // Of slabs without objects, which are not in the list, all are taken.
                let full = (stock.slab_count - count) * class.objects();
                if missing + full != stock.taken { Err(Inconsistent::Taken(class)) } else { Ok(()) }
            })?;
        }
        Ok(())
    }
}
