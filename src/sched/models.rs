//! Every interleaving of the lock-free parts of the scheduler, by loom. `cargo run -- soak loom` runs them.

mod reclassifying;

use std::boxed::Box;
use std::sync::Arc;
use std::vec::Vec;

use loom::sync::Mutex;
use loom::thread;

use super::backlog::Backlog;
use super::entity::{Affinity, Attributes, Entity, Runnable, ThreadId};
use super::inbox::Inbox;
use super::join::{End, JoinWord};
use super::notice::{Attention, Notice};
use super::state::{AfterSwitch, Phase, ThreadState, Wait, Wake};
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
            if self.state.take_token() || !self.state.begin(Wait::Unpark) {
                continue;
            }
            self.saved.store(1, Ordering::Relaxed);
            match self.state.complete_switch() {
                AfterSwitch::Nothing => return true,
                AfterSwitch::Enqueue => {
                    self.saved.store(0, Ordering::Relaxed);
                    let _ = self.state.set_running();
                }
                AfterSwitch::Release => unreachable!("the thread has not ended"),
            }
        }
        false
    }

    fn wake(&self) {
        self.condition.store(1, Ordering::Release);
        // In the steps of `mechanism::unpark`.
        if !self.state.leave_token(Wait::Unpark) && self.state.wake(Wait::Unpark) == Wake::Enqueue {
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
        let _ = sleeper.state.set_running();
        let is_parked = sleeper.wait();
        waker.join().unwrap();
        assert_eq!(sleeper.enqueued.load(Ordering::Relaxed), usize::from(is_parked));
    });
}

#[test]
fn loom_an_unpark_stays_while_the_thread_waits_for_an_event() {
    check(|| {
        let state = Arc::new(ThreadState::new(Phase::Running));
        let wakers = [Wait::Unpark, Wait::Event].map(|wait| {
            let state = state.clone();
            thread::spawn(move || state.wake(wait))
        });
        // In the steps of `blocking::block_until`.
        let after = if state.begin(Wait::Event) { state.complete_switch() } else { AfterSwitch::Enqueue };
        let [unpark, event] = wakers.map(|waker| waker.join().unwrap());
        assert_eq!(unpark, Wake::Nothing, "an unpark does not end the wait for an event");
        assert_eq!(event == Wake::Enqueue, after == AfterSwitch::Nothing, "the event ends it once");
        if state.phase() == Phase::Queued {
            let _ = state.set_running();
        }
        assert!(state.take_token() && !state.take_token(), "the unpark is for the next park");
        assert!(state.begin(Wait::Event), "the event is consumed");
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
        let claimed = claims.map(|claim| claim.join().unwrap());
        assert_ne!(claimed[0], claimed[1]);
    });
}

#[test]
fn loom_a_cpu_that_runs_a_thread_of_its_own_knows_whether_it_was_claimed() {
    check(|| {
        let target = Target::new();
        target.notice.set(Attention::Idle);
        let claim = thread::spawn({
            let target = target.clone();
            move || target.notice.claim_idle()
        });
        let sender = thread::spawn({
            let target = target.clone();
            move || target.send(1)
        });
        // In the steps of `mechanism::take_own`.
        let was = target.notice.set(Attention::Running);
        target.look();
        let (is_claimed, ()) = (claim.join().unwrap(), sender.join().unwrap());
        assert_eq!(
            was == Attention::Claimed,
            is_claimed,
            "a claim is lost, or one is passed on that was not made"
        );
        assert!(!target.inbox.has_threads() || target.is_notified());
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

/// A CPU whose inbox another one empties into its queue.
struct StolenFrom {
    target: Target,
    /// The number on the queue, and the threads. The inbox of `target` is not used.
    backlog: Backlog,
    /// The queue, behind its lock.
    queue: Mutex<Vec<Runnable>>,
}

impl StolenFrom {
    /// Two threads are in the inbox, and the CPU has taken the interrupt for them.
    fn new() -> Arc<StolenFrom> {
        let victim = StolenFrom {
            target: Target { inbox: Inbox::new(), notice: Notice::new(), interrupts: AtomicUsize::new(0) },
            backlog: Backlog::new(),
            queue: Mutex::new(Vec::new()),
        };
        victim.backlog.inbox.open();
        (1..=2).for_each(|id| assert!(victim.backlog.inbox.push(runnable(id)).is_ok()));
        Arc::new(victim)
    }

    /// Locks the queue and takes a thread from it, after those of the inbox were moved there.
    fn take_one(&self) -> Option<Runnable> {
        let mut queue = self.queue.lock().unwrap();
        if self.backlog.inbox.has_threads() {
            let before = queue.len();
            queue.extend(self.backlog.inbox.take_all());
            self.backlog.add_queued((queue.len() - before) as u32);
        }
        let taken = queue.pop();
        if taken.is_some() {
            self.backlog.remove_queued();
        }
        taken
    }

    /// In the steps of `mechanism::steal`. `interrupts`: whether it does the last one.
    fn steal(&self, interrupts: bool) {
        if self.backlog.is_empty() {
            return;
        }
        let _ = self.take_one();
        if interrupts && self.backlog.queued() > 0 && self.target.notice.claim_idle() {
            self.target.interrupts.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// In the steps of `mechanism::take_next`. Returns whether the CPU halts.
    fn look(&self) -> bool {
        if !self.backlog.is_empty() && self.take_one().is_some() {
            return false;
        }
        self.target.notice.set(Attention::Idle);
        self.backlog.is_empty() || self.take_one().is_none()
    }
}

fn check_victim(interrupts: bool) {
    check(move || {
        let victim = StolenFrom::new();
        let thief = thread::spawn({
            let victim = victim.clone();
            move || victim.steal(interrupts)
        });
        let halts = victim.look();
        thief.join().unwrap();
        let has_work = !victim.backlog.is_empty();
        assert!(!halts || !has_work || victim.target.is_notified(), "the victim halts beside a thread");
    });
}

#[test]
fn loom_a_victim_that_sees_its_threads_neither_here_nor_there_is_interrupted() {
    check_victim(true);
}

#[test]
#[should_panic = "the victim halts beside a thread"]
fn loom_without_the_interrupt_of_the_thief_the_victim_halts_beside_a_thread() {
    check_victim(false);
}

#[test]
fn loom_a_change_of_affinity_reaches_a_thread_that_parks_and_is_woken() {
    check(|| {
        let sleeper = Sleeper::new();
        let wanted = Arc::new(AtomicUsize::new(0));
        let waker = {
            let sleeper = sleeper.clone();
            thread::spawn(move || sleeper.wake())
        };
        let changer = {
            let (sleeper, wanted) = (sleeper.clone(), wanted.clone());
            thread::spawn(move || {
                wanted.store(1, Ordering::Relaxed);
                sleeper.state.request_change()
            })
        };
        let is_parked = sleeper.wait();
        let has_woken = waker.join();
        has_woken.unwrap();
        // The waker's CPU takes the parked thread from its queue.
        let is_seen = is_parked && sleeper.state.set_running();
        let early = !is_seen && sleeper.state.take_change();
        assert!(!early || wanted.load(Ordering::Relaxed) == 1);
        let is_interrupted = changer.join().unwrap();
        let late = sleeper.state.take_change();
        assert!(is_seen || early || late, "the change is lost");
        // A CPU that runs the thread and has not seen the change is interrupted for it.
        assert!(is_seen || early || is_interrupted, "no CPU looks at the change");
        assert_eq!(wanted.load(Ordering::Relaxed), 1);
        assert_eq!(sleeper.state.phase(), Phase::Running);
    });
}

#[test]
fn loom_a_change_of_affinity_interrupts_the_cpu_that_runs_the_thread() {
    check(|| {
        let shared = Arc::new((ThreadState::new(Phase::Queued), AtomicUsize::new(0)));
        let cpu = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (state, runs_on) = &*shared;
                runs_on.store(1, Ordering::Relaxed);
                state.set_running()
            })
        };
        let (state, runs_on) = &*shared;
        let is_interrupted = state.request_change();
        assert!(!is_interrupted || runs_on.load(Ordering::Relaxed) == 1, "another CPU is interrupted");
        let is_seen = cpu.join().unwrap();
        assert_ne!(is_seen, is_interrupted, "no CPU looks at the change, or two do");
    });
}
