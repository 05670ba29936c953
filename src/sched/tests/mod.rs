//! Tests of the policies: threads that exist as entities only, and a simulated CPU that runs them.

mod average;
mod balance;
mod dispatch;
mod fair;
mod latency;
mod list;
mod protocols;
mod random;
mod real_time;
mod round_robin;
mod sorted;
mod tree;

use core::ptr::NonNull;

use super::class::Urgency;
use super::entity::{Affinity, Attributes, Class, DEFAULT_SLICE_NS, Entity, Runnable, ThreadId};
use super::policy::{Enqueue, LentThread, RunQueue};
use crate::cpu::{CpuId, CpuSet};

const CPU: CpuId = CpuId(0);
const MS: u64 = 1_000_000;
const SLICE_NS: u64 = DEFAULT_SLICE_NS as u64;

/// How many cases a property test runs: few in Miri, which is slow.
fn cases(native: u32) -> proptest::test_runner::Config {
    let cases = if cfg!(miri) { 6 } else { native };
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}

/// The smaller number in Miri, which is slow.
fn scaled(native: usize, miri: usize) -> usize {
    if cfg!(miri) { miri } else { native }
}

/// The entities of a test. It is declared before the queues that use them, so it is dropped after these.
#[derive(Default)]
struct Entities(Vec<NonNull<Entity>>);

impl Entities {
    fn spawn(&mut self, attributes: Attributes, affinity: Affinity) -> Runnable {
        let id = ThreadId(self.0.len() as u64);
        let entity = Box::leak(Box::new(Entity::new(id, attributes, affinity)));
        let entity = NonNull::from(entity);
        self.0.push(entity);
        // SAFETY: no other token may exist, and the entity must stay: it is new, and freed when `self` is dropped.
        unsafe { Runnable::new(entity) }
    }

    /// Notes the class that a thread is to have.
    fn want(&self, thread: ThreadId, class: Class) {
        // SAFETY: the pointer must be that of an entity that lives: it does until `self` is dropped.
        unsafe { self.0[thread.0 as usize].as_ref() }.want_urgency(Urgency::of(class));
    }

    fn fair(&mut self, weight: u32) -> Runnable {
        self.spawn(Attributes { weight, ..Attributes::DEFAULT }, Affinity::Any)
    }
}

impl Drop for Entities {
    fn drop(&mut self) {
        for entity in self.0.drain(..) {
            // SAFETY: the pointer must be that of a box that is not freed yet. `spawn` made it of one, and only this frees it.
            drop(unsafe { Box::from_raw(entity.as_ptr()) });
        }
    }
}

fn real_time(priority: u8) -> Attributes {
    Attributes { class: Class::RealTime { priority }, ..Attributes::DEFAULT }
}

/// A CPU that runs the threads of one queue as the mechanism does.
struct Cpu<Q> {
    id: CpuId,
    queue: Q,
    running: Option<Runnable>,
    now_ns: u64,
    /// How long each thread has run, by number.
    ran_ns: Vec<u64>,
    switches: u64,
}

impl<Q: RunQueue> Cpu<Q> {
    fn new(queue: Q) -> Cpu<Q> {
        Cpu { id: CPU, queue, running: None, now_ns: 0, ran_ns: Vec::new(), switches: 0 }
    }

    fn ran_ns(&self, thread: ThreadId) -> u64 {
        self.ran_ns.get(thread.0 as usize).copied().unwrap_or(0)
    }

    fn wake(&mut self, thread: Runnable, reason: Enqueue) -> ThreadId {
        let id = thread.id();
        self.queue.enqueue(thread, reason, self.now_ns);
        self.reschedule();
        id
    }

    fn spawn(&mut self, thread: Runnable) -> ThreadId {
        self.wake(thread, Enqueue::New)
    }

    /// Preempts the running thread if another should run.
    fn reschedule(&mut self) {
        if let Some(running) = self.running.take() {
            if !self.queue.is_preempted(&running) {
                self.running = Some(running);
                return;
            }
            self.queue.enqueue(running, Enqueue::Preempted, self.now_ns);
        }
        self.pick();
    }

    fn pick(&mut self) {
        assert!(self.running.is_none());
        self.running = self.queue.pick_next(self.now_ns);
        self.switches += 1;
        if let Some(running) = &mut self.running {
            running.scheduled_mut().last_cpu = self.id;
        }
    }

    /// Lets the running thread block. It is charged.
    fn block(&mut self) -> Option<Runnable> {
        let thread = self.running.take();
        self.pick();
        thread
    }

    fn yield_now(&mut self) {
        let running = self.running.take().unwrap();
        self.queue.enqueue(running, Enqueue::Yielded, self.now_ns);
        self.pick();
    }

    fn running(&self) -> Option<ThreadId> {
        self.running.as_ref().map(Runnable::id)
    }

    /// Runs for some time without rescheduling: preemption is off.
    fn spin(&mut self, ns: u64) {
        self.now_ns += ns;
        if let Some(running) = &mut self.running {
            let index = running.id().0 as usize;
            self.ran_ns.resize(self.ran_ns.len().max(index + 1), 0);
            self.ran_ns[index] += ns;
            self.queue.charge(&mut LentThread::new(running), ns);
        }
    }

    /// Runs until the next timer interrupt, at most for some time. Returns for how long.
    fn run_one_slice(&mut self, at_most_ns: u64) -> u64 {
        let slice_ns = self.running.as_ref().and_then(|running| self.queue.slice_ns(running));
        let ns = slice_ns.map_or(at_most_ns, |slice_ns| slice_ns.max(1).min(at_most_ns));
        self.spin(ns);
        self.reschedule();
        ns
    }

    /// Runs for some time.
    fn run(&mut self, mut ns: u64) {
        while ns > 0 {
            ns -= self.run_one_slice(ns);
        }
    }
}
