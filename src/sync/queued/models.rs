//! Every interleaving of two or three CPUs and one lock, by loom. `cargo run -- soak loom` runs them.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::sync::model_atomics::{Accesses, explore};

const BOTH: [Accesses; 2] = [Accesses::Exchanges, Accesses::Plain];

struct Nothing;

// SAFETY: it does nothing.
unsafe impl Observer for Nothing {
    fn waiting(&mut self) {}
}

/// Tries once, while it waits, to take the lock that it waits for, as a CPU that reports its wait for the console does.
struct Trying<'a> {
    model: &'a Model,
    me: u64,
    has_tried: bool,
}

// SAFETY: it panics only if the model fails.
unsafe impl Observer for Trying<'_> {
    fn waiting(&mut self) {
        if !core::mem::replace(&mut self.has_tried, true) && self.model.lock.try_acquire(self.me) {
            self.model.enter(self.me);
            self.model.lock.release();
        }
    }
}

impl<'a> Trying<'a> {
    fn new(model: &'a Model, me: u64) -> Trying<'a> {
        Trying { model, me, has_tried: false }
    }
}

struct Model {
    lock: QueuedLock,
    /// loom fails if two threads access it at once, or one without having synchronised with the other.
    value: UnsafeCell<Vec<u64>>,
}

// SAFETY: the value is used under the lock only; the models check that this excludes other threads.
unsafe impl Sync for Model {}
// SAFETY: the value is a vector of numbers, which any thread may use and drop. `QueuedLock` is atomic.
unsafe impl Send for Model {}

impl Model {
    fn new() -> Arc<Model> {
        Arc::new(Model { lock: QueuedLock::new(), value: UnsafeCell::new(Vec::new()) })
    }

    fn acquire(&self, me: u64) {
        if !self.lock.acquire_uncontended(me) {
            self.lock.acquire_contended(me, &mut Nothing);
        }
    }

    /// Appends this CPU's number. The lock is held.
    fn enter(&self, me: u64) {
        assert_eq!(self.lock.holder(), Some(me as u32 - 1), "the lock names another holder");
        self.value.with_mut(|value| {
            // SAFETY: the caller holds the lock, so there is no other borrow.
            unsafe { (*value).push(me) };
        });
    }

    fn run(&self, me: u64) {
        self.acquire(me);
        self.enter(me);
        self.lock.release();
    }

    fn order(&self) -> Vec<u64> {
        self.value.with(|value| {
            // SAFETY: all other threads have ended, so there is no other borrow.
            unsafe { (*value).clone() }
        })
    }
}

#[test]
fn two_cpus_exclude_each_other() {
    explore(Some(4), &BOTH, || {
        let model = Model::new();
        let other = thread::spawn({
            let model = model.clone();
            move || model.run(2)
        });
        model.run(1);
        other.join().unwrap();
        assert_eq!(model.order().len(), 2);
        assert_eq!((model.lock.holder(), model.lock.queue()), (None, (0, false)));
    });
}

#[test]
fn three_cpus_exclude_each_other_and_leave_no_queue_behind() {
    explore(Some(2), &BOTH, || {
        let model = Model::new();
        let others = [2, 3].map(|me| {
            let model = model.clone();
            thread::spawn(move || model.run(me))
        });
        model.run(1);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(model.order().len(), 3);
        assert_eq!((model.lock.holder(), model.lock.queue()), (None, (0, false)));
    });
}

/// A CPU's node, which the main thread appends to the queue, so that the order of arrival is known.
struct Queued {
    node: Box<Node>,
    address: usize,
    joined: Joined,
}

// SAFETY: a node is atomic. `Joined::Behind` points to a node that lives until the main thread has joined all others.
unsafe impl Send for Queued {}

impl Queued {
    fn join(lock: &QueuedLock, me: u64) -> Queued {
        let node = Box::new(Node::new());
        let address = (&raw const *node).expose_provenance();
        Queued { joined: lock.join(me, address), node, address }
    }
}

/// Two CPUs have joined the queue in a known order. Then the lock is released. How CPUs join is the subject of
/// `three_cpus_exclude_each_other_and_leave_no_queue_behind`.
#[test]
fn queued_cpus_get_the_lock_in_order() {
    explore(Some(3), &BOTH, || {
        let model = Model::new();
        model.acquire(1);
        let queued = [2, 3].map(|me| (me, Queued::join(&model.lock, me)));
        let others = queued.map(|(me, queued)| {
            let model = model.clone();
            thread::spawn(move || {
                let Queued { node, address, joined } = queued;
                model.lock.acquire_queued(me, &node, address, joined, &mut Nothing);
                model.enter(me);
                model.lock.release();
                // The node lives until all threads have ended, so longer than on its CPU's stack.
                node
            })
        });
        model.lock.release();
        let nodes = others.map(|other| other.join().unwrap());
        assert_eq!(model.order(), [2, 3]);
        assert_eq!((model.lock.holder(), model.lock.queue()), (None, (0, false)));
        drop(nodes);
    });
}

/// The first of the queue has requested a hand-off, and another CPU arrives.
#[test]
fn no_cpu_passes_one_that_asked_for_a_hand_off() {
    explore(Some(2), &BOTH, || {
        let model = Model::new();
        model.acquire(1);
        let first = thread::spawn({
            let model = model.clone();
            move || model.run(2)
        });
        while !model.lock.queue().1 {
            thread::yield_now();
        }
        let passing = thread::spawn({
            let model = model.clone();
            move || model.run(3)
        });
        model.lock.release();
        first.join().unwrap();
        passing.join().unwrap();
        assert_eq!(model.order(), [2, 3]);
    });
}

/// A CPU tries to take the lock while its own node is in the queue, or before it joins; also after it has requested a
/// hand-off.
#[test]
fn a_waiting_cpu_takes_the_lock_past_its_own_node_and_stays_queued() {
    explore(Some(4), &BOTH, || {
        let model = Model::new();
        model.acquire(1);
        let waiting = thread::spawn({
            let model = model.clone();
            move || {
                model.lock.acquire_contended(2, &mut Trying::new(&model, 2));
                model.enter(2);
                model.lock.release();
            }
        });
        model.enter(1);
        model.lock.release();
        waiting.join().unwrap();
        let order = model.order();
        assert!(order == [1, 2] || order == [1, 2, 2], "{order:?}");
        assert_eq!((model.lock.holder(), model.lock.queue()), (None, (0, false)));
    });
}

/// The same by the second and by the first of the queue. Each acquires the lock once more, in the order of the queue.
#[test]
fn a_queued_cpu_that_takes_the_lock_past_the_queue_breaks_no_order() {
    for trying in [2, 3] {
        explore(Some(2), &BOTH, move || {
            let model = Model::new();
            model.acquire(1);
            let queued = [2, 3].map(|me| (me, Queued::join(&model.lock, me)));
            let others = queued.map(|(me, queued)| {
                let model = model.clone();
                thread::spawn(move || {
                    let Queued { node, address, joined } = queued;
                    if me == trying {
                        let mut observer = Trying::new(&model, me);
                        model.lock.acquire_queued(me, &node, address, joined, &mut observer);
                    } else {
                        model.lock.acquire_queued(me, &node, address, joined, &mut Nothing);
                    }
                    model.enter(me);
                    model.lock.release();
                    node
                })
            });
            model.lock.release();
            let nodes = others.map(|other| other.join().unwrap());
            let order = model.order();
            // The last time of each.
            let last = |me| order.iter().rposition(|entry| *entry == me);
            assert!(last(2) < last(3) && order.len() <= 3, "{order:?}");
            assert_eq!((model.lock.holder(), model.lock.queue()), (None, (0, false)));
            drop(nodes);
        });
    }
}
