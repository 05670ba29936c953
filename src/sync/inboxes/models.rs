//! Every interleaving of small numbers of senders with one target, by loom. `cargo run -- soak loom` runs them.

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::sync::loomed::{Accesses, explore};

/// Two senders and a target, all open.
const SENDERS: [usize; 2] = [0, 1];
const TARGET: usize = 2;
const CPUS: usize = 3;

struct Model {
    inboxes: Inboxes<'static>,
    /// How often each sender's call was run.
    runs: [AtomicUsize; 2],
    /// Interrupts that are on their way to the target.
    interrupts: AtomicUsize,
    /// Sleepers that were woken.
    woken: AtomicUsize,
}

impl Model {
    fn new() -> Arc<Model> {
        let rows = (0..Inboxes::words_for(CPUS)).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        let slots = (0..Inboxes::slots_for(CPUS)).map(|_| Slot::new()).collect::<Vec<_>>();
        let inboxes = Inboxes::new(CPUS, Box::leak(rows.into()), Box::leak(slots.into()));
        inboxes.open(TARGET);
        let zero = || AtomicUsize::new(0);
        Arc::new(Model { inboxes, runs: [zero(), zero()], interrupts: zero(), woken: zero() })
    }

    fn send(&self, from: usize) -> Put {
        self.send_if(from, true)
    }

    /// Sends a call, in the steps of `call::send`; its interrupt reaches the target some time later, or cannot be sent.
    /// [`Put::Closed`] if the call was taken back for that.
    fn send_if(&self, from: usize, can_interrupt: bool) -> Put {
        // The data is the sender's number, so that a call that is read too early is seen.
        self.inboxes.prepare(from, 0, 1, from);
        let put = self.inboxes.put(from, 0, TARGET);
        let mut was_taken_back = false;
        match put {
            Put::Notify(seen) if can_interrupt => {
                self.interrupts.fetch_add(1, Ordering::AcqRel);
                self.inboxes.notified(TARGET, seen);
            }
            Put::Notify(_) => was_taken_back = self.inboxes.take_back(from, 0, TARGET),
            Put::Quiet | Put::Closed => {}
        }
        // Also what was taken back, which has been subtracted before it is added here.
        self.inboxes.counted(from, 0, usize::from(put != Put::Closed));
        if was_taken_back { Put::Closed } else { put }
    }

    fn answer(&self) {
        self.inboxes.answer(
            TARGET,
            |call| {
                assert_eq!((call.function, call.data), (1, call.from()));
                self.runs[call.from()].fetch_add(1, Ordering::Relaxed);
            },
            |_| {
                self.woken.fetch_add(1, Ordering::AcqRel);
            },
        );
    }

    /// The target takes the interrupts that have reached it.
    fn take_interrupts(&self) {
        if self.interrupts.swap(0, Ordering::AcqRel) > 0 {
            self.answer();
        }
    }

    fn runs(&self, from: usize) -> usize {
        self.runs[from].load(Ordering::Relaxed)
    }
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    explore(Some(4), &[Accesses::Exchanges, Accesses::Plain], model);
}

#[test]
fn loom_no_call_is_left_without_an_interrupt() {
    check(|| {
        let model = Model::new();
        let senders = SENDERS.map(|from| {
            let model = model.clone();
            thread::spawn(move || model.send(from))
        });
        model.take_interrupts();
        let puts = senders.map(|sender| sender.join().unwrap());
        assert!(puts.iter().any(|put| matches!(put, Put::Notify(_))) && !puts.contains(&Put::Closed));
        model.take_interrupts();
        for from in SENDERS {
            assert!(model.inboxes.is_done(from, 0));
            assert_eq!(model.runs(from), 1);
        }
    });
}

/// One sender's interrupt cannot be sent. Its call is taken back or run, and the other's is run: that has an interrupt of its
/// own, or found an earlier one pending.
#[test]
fn loom_a_failed_interrupt_strands_no_call_of_another_sender() {
    for polls in [false, true] {
        check(move || {
            let model = Model::new();
            let senders = SENDERS.map(|from| {
                let model = model.clone();
                thread::spawn(move || model.send_if(from, from != 0))
            });
            if polls {
                model.answer();
            } else {
                model.take_interrupts();
            }
            let puts = senders.map(|sender| sender.join().unwrap());
            model.take_interrupts();
            for (from, put) in SENDERS.into_iter().zip(puts) {
                assert!(model.inboxes.is_done(from, 0), "the call of cpu {from} is stranded");
                assert_eq!(model.runs(from), usize::from(put != Put::Closed));
            }
            assert_ne!(puts[1], Put::Closed);
        });
    }
}

/// No interrupt can be sent at all: then each call is run by a poll of the target's, or taken back.
#[test]
fn loom_without_interrupts_each_call_is_polled_or_taken_back() {
    check(|| {
        let model = Model::new();
        let senders = SENDERS.map(|from| {
            let model = model.clone();
            thread::spawn(move || model.send_if(from, false))
        });
        model.answer();
        let puts = senders.map(|sender| sender.join().unwrap());
        for (from, put) in SENDERS.into_iter().zip(puts) {
            assert!(model.inboxes.is_done(from, 0), "the call of cpu {from} is stranded");
            assert_eq!(model.runs(from), usize::from(put != Put::Closed));
        }
    });
}

/// An interrupt that is taken late, after its call was run by a poll, leaves no flag behind that says one is pending.
#[test]
fn loom_a_late_interrupt_does_not_hide_that_a_new_one_is_needed() {
    check(|| {
        let model = Model::new();
        let first = thread::spawn({
            let model = model.clone();
            move || model.send(0)
        });
        model.answer();
        model.take_interrupts();
        let second = model.send(1);
        first.join().unwrap();
        model.take_interrupts();
        assert_ne!(second, Put::Closed);
        for from in SENDERS {
            assert!(model.inboxes.is_done(from, 0), "the call of cpu {from} is stranded");
            assert_eq!(model.runs(from), 1);
        }
    });
}

#[test]
fn loom_a_poll_does_not_swallow_a_call() {
    check(|| {
        let model = Model::new();
        let senders = SENDERS.map(|from| {
            let model = model.clone();
            thread::spawn(move || model.send(from))
        });
        model.answer();
        for sender in senders {
            sender.join().unwrap();
        }
        model.take_interrupts();
        for from in SENDERS {
            assert!(model.inboxes.is_done(from, 0));
            assert_eq!(model.runs(from), 1);
        }
    });
}

#[test]
fn loom_a_call_is_run_or_taken_back() {
    check(|| {
        let model = Model::new();
        let sender = thread::spawn({
            let model = model.clone();
            move || {
                model.send(0);
                model.inboxes.take_back(0, 0, TARGET)
            }
        });
        model.answer();
        let taken_back = sender.join().unwrap();
        model.answer();
        assert!(model.inboxes.is_done(0, 0));
        assert_eq!(model.runs(0), usize::from(!taken_back));
    });
}

#[test]
fn loom_a_call_to_a_cpu_that_leaves_is_run_or_refused() {
    check(|| {
        let model = Model::new();
        let sender = thread::spawn({
            let model = model.clone();
            move || model.send(0)
        });
        model.inboxes.close(TARGET);
        model.answer();
        let put = sender.join().unwrap();
        // No interrupt is needed any more.
        assert!(model.inboxes.is_done(0, 0));
        assert_eq!(model.runs(0), usize::from(put != Put::Closed));
    });
}

#[test]
fn loom_a_call_to_a_cpu_that_comes_back_is_run_or_refused() {
    check(|| {
        let model = Model::new();
        model.inboxes.close(TARGET);
        // Somebody has knocked at the closed door before.
        assert_eq!(model.send(1), Put::Closed);
        let sender = thread::spawn({
            let model = model.clone();
            move || model.send(0)
        });
        model.inboxes.open(TARGET);
        let put = sender.join().unwrap();
        model.take_interrupts();
        assert!(model.inboxes.is_done(0, 0));
        assert_eq!(model.runs(0), usize::from(put != Put::Closed));
    });
}

#[test]
fn loom_a_sender_sleeps_only_if_it_will_be_woken() {
    check(|| {
        let model = Model::new();
        model.send(0);
        let target = thread::spawn({
            let model = model.clone();
            move || model.answer()
        });
        let is_done = model.inboxes.is_done_or_wake_me(0, 0);
        target.join().unwrap();
        assert!(model.inboxes.is_done(0, 0));
        assert_eq!(model.woken.load(Ordering::Acquire), usize::from(!is_done));
    });
}
