//! Every interleaving of deferred work and its workers.

use std::sync::Arc;

use loom::thread;

use super::super::work_item::{Defer, WorkItem, WorkList};
use super::{check, join, spawn};
use crate::sync::model_atomics::{AtomicUsize, Ordering};

/// What the function of a [`Deferred`] item sees.
struct Requests {
    /// How often it was requested.
    made: AtomicUsize,
    /// How many of them the function has seen.
    seen: AtomicUsize,
    inside: AtomicUsize,
}

/// An item of deferred work, and the list of a worker.
struct Deferred {
    item: WorkItem,
    list: WorkList,
    requests: Arc<Requests>,
}

impl Deferred {
    fn new() -> Arc<Deferred> {
        let zero = || AtomicUsize::new(0);
        let requests = Arc::new(Requests { made: zero(), seen: zero(), inside: zero() });
        let item = WorkItem::new(Deferred::work, Arc::as_ptr(&requests).expose_provenance());
        Arc::new(Deferred { item, list: WorkList::new(), requests })
    }

    fn work(data: usize) {
        // SAFETY: the address must be that of requests that live. `new` has made it of those of the item, whose threads are joined before
        // these are dropped.
        let requests: &Requests = unsafe { &*core::ptr::with_exposed_provenance(data) };
        assert_eq!(requests.inside.fetch_add(1, Ordering::Relaxed), 0, "it runs twice at the same time");
        requests.seen.store(requests.made.load(Ordering::Relaxed), Ordering::Relaxed);
        requests.inside.fetch_sub(1, Ordering::Relaxed);
    }

    /// Defers the item. Returns whether the worker has to be woken.
    fn defer(&self) -> bool {
        self.requests.made.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the item must live until it has run, and the list while the item is used: the model joins its threads.
        unsafe { self.list.defer(&self.item) == Defer::Added { was_empty: true } }
    }
}

#[test]
fn loom_deferred_work_runs_after_each_request_and_not_twice_at_once() {
    check(|| {
        let deferred = Deferred::new();
        let others = [0, 1].map(|_| {
            spawn(&deferred, |deferred| {
                let _ = deferred.defer();
            })
        });
        let worker = spawn(&deferred, |deferred| deferred.list.run_all());
        join(others);
        worker.join().unwrap();
        deferred.list.run_all();
        assert_eq!(deferred.requests.seen.load(Ordering::Relaxed), 2, "a request was lost");
        assert!(!deferred.item.is_pending() && deferred.list.is_empty());
    });
}

#[test]
fn loom_a_worker_is_woken_and_a_flush_waits_for_it() {
    check(|| {
        let deferred = Deferred::new();
        let ends = Arc::new(AtomicUsize::new(0));
        let shared = (deferred.clone(), ends.clone());
        let worker = thread::spawn(move || {
            let (deferred, ends) = shared;
            while ends.load(Ordering::Relaxed) == 0 {
                deferred.list.run_all();
                if deferred.list.is_empty() {
                    thread::park();
                }
            }
        });
        for request in 1..=2 {
            if deferred.defer() {
                worker.thread().unpark();
            }
            if request == 2 {
                deferred.item.flush("flush", None).unwrap();
            }
        }
        assert_eq!(deferred.requests.seen.load(Ordering::Relaxed), 2, "a flush has not waited");
        ends.store(1, Ordering::Relaxed);
        worker.thread().unpark();
        worker.join().unwrap();
    });
}
