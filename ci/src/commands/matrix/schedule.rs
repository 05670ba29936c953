//! Runs several rows at once: as many as the cores and the memory of the host allow.
//!
//! The heaviest rows run first. So the rows that need the whole host end before the light rows fill it, and no core idles
//! beside a long row that began last.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::base::Observer;
use crate::commands::matrix::result::RowResult;
use crate::commands::matrix::runner::Job;
use crate::commands::matrix::weight::Weight;

/// Receives the progress of rows, from the threads that run them.
pub trait Watcher: Sync {
    /// A row begins; what happens in its run goes to the observer.
    fn begins(&self, job: &Job) -> Box<dyn Observer + '_>;
    /// A row has ended.
    fn ended(&self, result: &RowResult);
}

/// Runs all jobs; their results come in the jobs' order. After an interrupt those that have begun end at once, and the
/// others say that they were not begun.
pub fn run(jobs: &[Job], host: Weight, watcher: &dyn Watcher) -> Vec<RowResult> {
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(jobs[at].weight().slots));
    let queue = Queue::new(order.into_iter().map(|at| (at, jobs[at].weight())).collect(), host);
    let mut results: Vec<(usize, RowResult)> = thread::scope(|scope| {
        let worker = || {
            let mut mine = Vec::new();
            while let Some(turn) = queue.next() {
                let job = &jobs[turn.job];
                let result = job.run(&mut *watcher.begins(job));
                watcher.ended(&result);
                mine.push((turn.job, result));
            }
            mine
        };
        let workers: Vec<_> = (0..host.slots.min(jobs.len())).map(|_| scope.spawn(worker)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().flat_map(join).collect()
    });
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The jobs that wait, and what those at work have taken of the host.
struct Queue {
    host: Weight,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The next one last.
    waiting: Vec<(usize, Weight)>,
    taken: Weight,
}

/// A job's turn, and its share of the host until it is dropped.
struct Turn<'a> {
    queue: &'a Queue,
    job: usize,
    weight: Weight,
}

impl Queue {
    fn new(mut order: Vec<(usize, Weight)>, host: Weight) -> Queue {
        order.reverse();
        let state = State { waiting: order, taken: Weight { slots: 0, bytes: 0 } };
        Queue { host, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the next job fits; none when there is none left.
    fn next(&self) -> Option<Turn<'_>> {
        let state = self.lock();
        let must_wait = |state: &mut State| {
            let next = state.waiting.last();
            next.is_some_and(|(_, weight)| !fits(*weight, state.taken, self.host))
        };
        let mut state = self.changed.wait_while(state, must_wait).unwrap_or_else(PoisonError::into_inner);
        let (job, weight) = state.waiting.pop()?;
        state.taken.slots += weight.slots;
        state.taken.bytes = state.taken.bytes.saturating_add(weight.bytes);
        Some(Turn { queue: self, job, weight })
    }
}

/// A row that is too heavy for this host is run nevertheless, alone.
fn fits(next: Weight, taken: Weight, host: Weight) -> bool {
    let slots = taken.slots.saturating_add(next.slots);
    let bytes = taken.bytes.saturating_add(next.bytes);
    taken.slots == 0 || (slots <= host.slots && bytes <= host.bytes)
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.taken.slots -= self.weight.slots;
        state.taken.bytes = state.taken.bytes.saturating_sub(self.weight.bytes);
        self.queue.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn weight(slots: usize, bytes: u64) -> Weight {
        Weight { slots, bytes }
    }

    #[test]
    fn what_does_not_fit_waits_and_what_never_fits_runs_alone() {
        let host = weight(2, 4 * GIB);
        let nothing = weight(0, 0);
        assert!(fits(weight(1, GIB), weight(1, GIB), host));
        assert!(!fits(weight(1, GIB), weight(2, GIB), host));
        assert!(!fits(weight(1, 4 * GIB), weight(1, GIB), host));
        assert!(fits(weight(8, 16 * GIB), nothing, host));
        assert!(!fits(weight(1, GIB), weight(8, GIB), host));
    }

    #[test]
    fn a_waiting_worker_is_woken_by_the_end_of_the_job_before() {
        let queue = Queue::new(vec![(7, weight(2, 0)), (8, weight(1, 0)), (9, weight(1, 0))], weight(2, GIB));
        let heavy = queue.next().unwrap();
        assert_eq!(heavy.job, 7);
        let (sender, turns) = channel();
        thread::scope(|scope| {
            for sender in [sender.clone(), sender] {
                let queue = &queue;
                scope.spawn(move || sender.send(queue.next().unwrap()).unwrap());
            }
            assert!(turns.recv_timeout(Duration::from_millis(50)).is_err());
            drop(heavy);
            let mut light: Vec<Turn<'_>> = turns.iter().take(2).collect();
            light.sort_by_key(|turn| turn.job);
            assert_eq!(light.iter().map(|turn| turn.job).collect::<Vec<_>>(), [8, 9]);
        });
        assert!(queue.next().is_none());
        assert_eq!(queue.lock().taken, weight(0, 0));
    }
}
