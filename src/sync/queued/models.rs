//! Every interleaving of two or three CPUs and one lock, by loom. `cargo run -- soak loom` runs them.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::sync::loomed::{Accesses, explore};

const BOTH: [Accesses; 2] = [Accesses::Exchanges, Accesses::Plain];

struct Nothing;

// SAFETY: nothing is done.
unsafe impl Observer for Nothing {
    fn waiting(&mut self) {}
}

struct Model {
    lock: QueuedLock,
    /// loom fails if two threads touch it at once, or one without seeing what the other has written.
    value: UnsafeCell<Vec<u64>>,
}

// SAFETY: the value is used under the lock only, which is what the models prove.
unsafe impl Sync for Model {}
// SAFETY: the value is a vector of numbers, which any thread may use and drop; `QueuedLock` is atomic.
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

    /// Leaves this CPU's number, with the lock held.
    fn enter(&self, me: u64) {
        assert_eq!(self.lock.holder(), Some(me as u32 - 1), "the lock names another holder");
        self.value.with_mut(|value| {
            // SAFETY: the lock is held.
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
            // SAFETY: all other threads have ended.
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

/// A CPU's node, entered in the queue by the main thread, so that the order of arrival is known.
struct Queued {
    node: Box<Node>,
    address: usize,
    joined: Joined,
}

// SAFETY: all of a node is atomic, and `Joined::Behind` points to one that lives until the main thread has joined all others.
unsafe impl Send for Queued {}

impl Queued {
    fn join(lock: &QueuedLock, me: u64) -> Queued {
        let node = Box::new(Node::new());
        let address = (&raw const *node).expose_provenance();
        Queued { joined: lock.join(me, address), node, address }
    }
}

/// Two CPUs have joined the queue in a known order, and have done nothing since; then the lock is freed. What is not in this
/// model is how they joined: `three_cpus_exclude_each_other_and_leave_no_queue_behind` has that.
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
                // The node lives until all threads have ended: as long as its CPU's stack would, and longer.
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

/// The first of the queue has asked for a hand-off, and another CPU comes.
#[test]
fn nobody_passes_a_cpu_that_asked_for_a_hand_off() {
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
