//! Every interleaving of the lock-free parts of the scheduler, by loom. `cargo run -- soak loom` runs them.

use std::boxed::Box;
use std::sync::Arc;
use std::vec::Vec;

use loom::thread;

use super::entity::{Affinity, Attributes, Entity, Runnable, ThreadId};
use super::inbox::Inbox;
use super::join::{End, JoinWord};
use super::notice::{Attention, Notice};
use super::state::{AfterSwitch, Phase, ThreadState, Wake};
use crate::sync::model_atomics::{Accesses, AtomicUsize, Ordering, explore};

fn check(model: impl Fn() + Sync + Send + 'static) {
    explore(Some(4), &[Accesses::Exchanges, Accesses::Plain], model);
}

/// A thread on its CPU, and what its wakers do.
struct Sleeper {
    state: ThreadState,
    /// What the thread waits for.
    condition: AtomicUsize,
    /// 1 while the registers are saved.
    saved: AtomicUsize,
    /// How often the thread was put on a queue.
    enqueued: AtomicUsize,
}

impl Sleeper {
    fn new() -> Arc<Sleeper> {
        let zero = || AtomicUsize::new(0);
        Arc::new(Sleeper {
            state: ThreadState::new(Phase::Running),
            condition: zero(),
            saved: zero(),
            enqueued: zero(),
        })
    }

    /// The thread waits for the condition, and its CPU switches away from it. Returns whether it stays parked.
    fn wait(&self) -> bool {
        while self.condition.load(Ordering::Acquire) == 0 {
            if self.state.take_token() || !self.state.begin_park() {
                continue;
            }
            self.saved.store(1, Ordering::Relaxed);
            match self.state.complete_switch() {
                AfterSwitch::Nothing => return true,
                AfterSwitch::Enqueue => {
                    self.saved.store(0, Ordering::Relaxed);
                    self.state.set_running();
                }
                AfterSwitch::Release => unreachable!("the thread has not ended"),
            }
        }
        false
    }

    fn wake(&self) {
        self.condition.store(1, Ordering::Release);
        if self.state.wake() == Wake::Enqueue {
            assert_eq!(self.saved.load(Ordering::Relaxed), 1, "queued before its registers are saved");
            self.enqueued.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn loom_a_thread_that_parks_is_woken_once_by_two_wakers() {
    check(|| {
        let sleeper = Sleeper::new();
        let wakers = [0, 1].map(|_| {
            let sleeper = sleeper.clone();
            thread::spawn(move || sleeper.wake())
        });
        let is_parked = sleeper.wait();
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
        let enqueued = sleeper.enqueued.load(Ordering::Relaxed);
        assert_eq!(enqueued, usize::from(is_parked), "a parked thread is queued once, a running one never");
    });
}

#[test]
fn loom_a_token_of_an_earlier_wake_is_kept_while_the_thread_is_queued() {
    check(|| {
        let sleeper = Sleeper::new();
        let waker = thread::spawn({
            let sleeper = sleeper.clone();
            move || sleeper.wake()
        });
        // Preempted and picked again.
        sleeper.state.set_queued();
        sleeper.state.set_running();
        let is_parked = sleeper.wait();
        waker.join().unwrap();
        assert_eq!(sleeper.enqueued.load(Ordering::Relaxed), usize::from(is_parked));
    });
}

fn runnable(id: u64) -> Runnable {
    let entity = Box::leak(Box::new(Entity::new(ThreadId(id), Attributes::DEFAULT, Affinity::Any)));
    // SAFETY: the entity is leaked, and this is its only token.
    unsafe { Runnable::new(entity.into()) }
}

/// Numbers of the threads, which are lost as tokens.
fn ids(threads: impl Iterator<Item = Runnable>) -> Vec<u64> {
    threads.map(|thread| thread.id().0).collect()
}

#[test]
fn loom_each_thread_of_an_inbox_is_taken_once() {
    check(|| {
        let inbox = Arc::new(Inbox::new());
        inbox.open();
        let pushers = [1, 2].map(|id| {
            let inbox = inbox.clone();
            thread::spawn(move || inbox.push(runnable(id)).is_ok())
        });
        let thief = thread::spawn({
            let inbox = inbox.clone();
            move || ids(inbox.take_all())
        });
        let mut taken = ids(inbox.take_all());
        for pusher in pushers {
            assert!(pusher.join().unwrap());
        }
        taken.extend(thief.join().unwrap());
        taken.extend(ids(inbox.take_all()));
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
    });
}

#[test]
fn loom_a_thread_is_refused_by_an_inbox_that_closes_or_taken_from_it() {
    check(|| {
        let inbox = Arc::new(Inbox::new());
        inbox.open();
        let pushers = [1, 2].map(|id| {
            let inbox = inbox.clone();
            thread::spawn(move || inbox.push(runnable(id)).err().map(|thread| thread.id().0))
        });
        let mut seen = ids(inbox.close());
        seen.extend(pushers.into_iter().filter_map(|pusher| pusher.join().unwrap()));
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
        assert!(!inbox.has_threads());
    });
}

/// A CPU with an inbox.
struct Target {
    inbox: Inbox,
    notice: Notice,
    /// Interrupts that are pending at it.
    interrupts: AtomicUsize,
}

impl Target {
    fn new() -> Arc<Target> {
        let inbox = Inbox::new();
        inbox.open();
        Arc::new(Target { inbox, notice: Notice::new(), interrupts: AtomicUsize::new(0) })
    }

    /// In the steps of `mechanism::push_to`.
    fn send(&self, id: u64) {
        assert!(self.inbox.push(runnable(id)).is_ok());
        if self.notice.notify(false).is_some() {
            self.interrupts.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn look(&self) -> usize {
        self.inbox.take_all().map(|thread| thread.into_entity()).count()
    }

    fn senders(self: &Arc<Target>) -> [thread::JoinHandle<()>; 2] {
        [1, 2].map(|id| {
            let target = self.clone();
            thread::spawn(move || target.send(id))
        })
    }

    fn is_notified(&self) -> bool {
        self.interrupts.load(Ordering::Acquire) > 0
    }
}

#[test]
fn loom_a_cpu_that_halts_is_interrupted_if_a_thread_is_in_its_inbox() {
    check(|| {
        let target = Target::new();
        let senders = target.senders();
        // In the steps of `mechanism::take_next`.
        target.notice.set(Attention::Idle);
        target.look();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert!(!target.inbox.has_threads() || target.is_notified(), "the CPU halts beside a thread");
    });
}

#[test]
fn loom_a_cpu_whose_slice_ends_sees_the_inbox_or_is_interrupted() {
    check(|| {
        let target = Target::new();
        target.notice.set_slicing();
        let senders = target.senders();
        // The timer, which does not run any more: the steps of `mechanism::slice_ended` and `switch_if_better`.
        target.notice.set(Attention::Running);
        target.look();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert!(!target.inbox.has_threads() || target.is_notified(), "no CPU looks at the inbox");
    });
}

#[test]
fn loom_a_cpu_that_begins_to_slice_overwrites_no_notice_without_an_interrupt() {
    check(|| {
        let target = Target::new();
        let senders = target.senders();
        target.notice.set_slicing();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        // The end of the slice.
        target.notice.set(Attention::Running);
        assert_eq!(target.look(), 2);
    });
}

#[test]
fn loom_one_of_two_wakers_claims_an_idle_cpu() {
    check(|| {
        let target = Target::new();
        target.notice.set(Attention::Idle);
        let claims = [0, 1].map(|_| {
            let target = target.clone();
            thread::spawn(move || target.notice.claim_idle())
        });
        let claimed = claims.into_iter().filter(|_| true).map(|claim| claim.join().unwrap());
        assert_eq!(claimed.filter(|is_so| *is_so).count(), 1);
    });
}

/// The address that stands for a waiter.
const WAITER: usize = 64;

#[test]
fn loom_a_thread_that_ends_wakes_the_waiter_or_is_seen_to_have_ended() {
    check(|| {
        let word = Arc::new(JoinWord::new(true));
        let ending = thread::spawn({
            let word = word.clone();
            move || word.end()
        });
        // In the steps of `JoinHandle::wait` with a time-out of 0.
        let waits = word.wait(WAITER);
        let gives_up = waits && word.stop_waiting(WAITER);
        let end = ending.join().unwrap();
        // The reference is revoked, or used once by the end of the thread.
        assert_eq!(end == End::Wake(WAITER), waits && !gives_up);
        assert_ne!(end, End::Drop);
        assert!(word.has_ended());
    });
}

#[test]
fn loom_a_result_is_dropped_by_the_thread_or_its_handle() {
    check(|| {
        let word = Arc::new(JoinWord::new(true));
        let ending = thread::spawn({
            let word = word.clone();
            move || word.end()
        });
        let is_detached = word.detach();
        let end = ending.join().unwrap();
        assert_eq!(end == End::Drop, is_detached);
    });
}
