//! Every interleaving of futures, which threads or executors wait for.

use core::future::Future;
use std::sync::Arc;

use loom::sync::Notify;
use loom::thread;

use super::super::channel;
use super::super::executing::{IdleCount, Idleness, block_on};
use super::{SOME, check, join, spawn};
use crate::sync::model_atomics::{AtomicUsize, Ordering};

#[test]
fn loom_a_future_of_a_channel_gets_each_value() {
    check(|| {
        let (sender, receiver) = channel::bounded(1);
        let sending = thread::spawn(move || {
            for value in [1, 2] {
                block_on(sender.send_async(value)).unwrap();
            }
        });
        assert_eq!([(); 3].map(|()| block_on(receiver.recv_async()).ok()), [Some(1), Some(2), None]);
        sending.join().unwrap();
    });
}

#[test]
fn loom_a_value_reaches_a_task_also_if_another_that_was_woken_is_dropped() {
    check(|| {
        let (sender, receiver) = channel::bounded(1);
        let patient = {
            let receiver = receiver.clone();
            thread::spawn(move || block_on(receiver.recv_async()).unwrap())
        };
        let hasty = thread::spawn(move || {
            let mut receiving = core::pin::pin!(receiver.recv_async());
            let mut context = core::task::Context::from_waker(core::task::Waker::noop());
            // Dropped after one poll, woken or not.
            match receiving.as_mut().poll(&mut context) {
                core::task::Poll::Ready(value) => value.ok(),
                core::task::Poll::Pending => None,
            }
        });
        sender.try_send(1).unwrap();
        if hasty.join().unwrap() == Some(1) {
            block_on(sender.send_async(1)).unwrap();
        }
        assert_eq!(patient.join().unwrap(), 1);
    });
}

#[test]
fn loom_a_value_reaches_a_thread_or_a_task_that_waits() {
    check(|| {
        let (sender, receiver) = channel::bounded(1);
        let task = {
            let receiver = receiver.clone();
            thread::spawn(move || block_on(receiver.recv_async()).ok())
        };
        let other = thread::spawn(move || receiver.recv_timeout(SOME).ok());
        sender.try_send(1).unwrap();
        drop(sender);
        let received = [task.join().unwrap(), other.join().unwrap()];
        assert_eq!(received.into_iter().flatten().count(), 1, "{received:?}");
    });
}

/// Two executors, each with a queue, in the steps of `task::executor`.
struct Executors {
    idle: IdleCount,
    of_each: [Executor; 2],
    /// The tasks that have not run.
    left: AtomicUsize,
}

struct Executor {
    idleness: Idleness,
    /// The number of tasks on the queue.
    waiting: AtomicUsize,
    /// Its park.
    wake_up: Notify,
}

impl Executors {
    fn new(tasks: usize) -> Arc<Executors> {
        let new =
            || Executor { idleness: Idleness::new(), waiting: AtomicUsize::new(0), wake_up: Notify::new() };
        Arc::new(Executors { idle: IdleCount::new(), of_each: [new(), new()], left: AtomicUsize::new(tasks) })
    }

    /// In the steps of `schedule`.
    fn queue(&self, on: usize) {
        self.of_each[on].waiting.fetch_add(1, Ordering::SeqCst);
        if self.idle.is_any() {
            self.wake_idle();
        }
    }

    fn wake_idle(&self) {
        if let Some(claimed) = self.of_each.iter().find(|one| one.idleness.claim(&self.idle)) {
            claimed.wake_up.notify();
        }
    }

    /// Takes a task of any queue.
    fn take(&self, own: usize) -> bool {
        let less = |waiting: usize| waiting.checked_sub(1);
        [own, 1 - own].into_iter().any(|number| {
            let waiting = &self.of_each[number].waiting;
            waiting.load(Ordering::SeqCst) != 0
                && waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
        })
    }

    /// In the steps of `serve`. A task ends when all others have begun. Returns when all have.
    fn serve(&self, own: usize) {
        let me = &self.of_each[own];
        let run = || {
            if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.of_each.iter().for_each(|one| one.wake_up.notify());
            }
            while self.left.load(Ordering::Acquire) != 0 {
                me.wake_up.wait();
            }
        };
        loop {
            while self.take(own) {
                run();
            }
            if self.left.load(Ordering::Acquire) == 0 {
                return;
            }
            me.idleness.begin(&self.idle);
            if self.take(own) {
                if me.idleness.end(&self.idle) {
                    self.wake_idle();
                }
                run();
            } else {
                while me.idleness.is_idle() && self.left.load(Ordering::Acquire) != 0 {
                    me.wake_up.wait();
                }
            }
        }
    }
}

#[test]
fn loom_no_task_waits_while_an_executor_is_idle() {
    check(|| {
        // One task waits for the other, so an executor that takes the first cannot run the second.
        let executors = Executors::new(2);
        let threads = [0, 1].map(|own| spawn(&executors, move |executors| executors.serve(own)));
        executors.queue(0);
        executors.queue(1);
        join(threads);
    });
}

#[test]
fn loom_an_executor_that_becomes_idle_and_is_claimed_hides_no_other() {
    check(|| {
        let shared = Arc::new((Idleness::new(), Idleness::new(), IdleCount::new()));
        let (first, _, idle) = &*shared;
        first.begin(idle);
        let others = [
            spawn(&shared, |(_, second, idle)| second.begin(idle)),
            spawn(&shared, |(_, second, idle)| {
                second.claim(idle);
            }),
        ];
        assert!(idle.is_any(), "the first one is idle");
        join(others);
    });
}
