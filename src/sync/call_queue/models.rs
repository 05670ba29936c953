//! Every interleaving of small numbers of senders with one target, by loom. `cargo run -- soak loom` runs them.

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::sync::model_atomics::{Accesses, explore};

/// Two senders and a target, all open.
const SENDERS: [usize; 2] = [0, 1];
const TARGET: usize = 2;
const CPUS: usize = 3;

struct Model {
    queues: CallQueues<'static>,
    /// How often each sender's call was run.
    runs: [AtomicUsize; 2],
    /// IPIs pending at the target.
    interrupts: AtomicUsize,
    /// Senders that were woken.
    woken: AtomicUsize,
}

impl Model {
    fn new() -> Arc<Model> {
        let rows = (0..CallQueues::words_for(CPUS)).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        let slots = (0..CallQueues::slots_for(CPUS)).map(|_| CallSlot::new()).collect::<Vec<_>>();
        let queues = CallQueues::new(CPUS, Box::leak(rows.into()), Box::leak(slots.into()));
        queues.open(TARGET);
        let zero = || AtomicUsize::new(0);
        Arc::new(Model { queues, runs: [zero(), zero()], interrupts: zero(), woken: zero() })
    }

    fn send(&self, from: usize) -> Enqueue {
        self.send_if(from, true)
    }

    /// Sends a call, in the steps of `call::send`; its interrupt reaches the target some time later, or cannot be sent.
    /// [`Enqueue::Offline`] if the call was withdrawn for that.
    fn send_if(&self, from: usize, can_interrupt: bool) -> Enqueue {
        // The data is the sender's number, so that a call that is read too early is seen.
        self.queues.prepare(from, 0, 1, from);
        let result = self.queues.enqueue(from, 0, TARGET);
        let mut was_withdrawn = false;
        match result {
            Enqueue::SendIpi(seen) if can_interrupt => {
                self.interrupts.fetch_add(1, Ordering::AcqRel);
                self.queues.ipi_sent(TARGET, seen);
            }
            Enqueue::SendIpi(_) => was_withdrawn = self.queues.withdraw(from, 0, TARGET),
            Enqueue::AlreadyPending | Enqueue::Offline => {}
        }
        // Also what was withdrawn, which has been subtracted before it is added here.
        self.queues.set_target_count(from, 0, usize::from(result != Enqueue::Offline));
        if was_withdrawn { Enqueue::Offline } else { result }
    }

    fn process(&self) {
        self.queues.process(
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
            self.process();
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
        let results = senders.map(|sender| sender.join().unwrap());
        assert!(
            results.iter().any(|result| matches!(result, Enqueue::SendIpi(_)))
                && !results.contains(&Enqueue::Offline)
        );
        model.take_interrupts();
        for from in SENDERS {
            assert!(model.queues.is_done(from, 0));
            assert_eq!(model.runs(from), 1);
        }
    });
}

/// One sender's interrupt cannot be sent. Its call is withdrawn or run, and the other's is run: that has an interrupt of
/// its own, or found an earlier one pending.
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
                model.process();
            } else {
                model.take_interrupts();
            }
            let results = senders.map(|sender| sender.join().unwrap());
            model.take_interrupts();
            for (from, result) in SENDERS.into_iter().zip(results) {
                assert!(model.queues.is_done(from, 0), "the call of cpu {from} is stranded");
                assert_eq!(model.runs(from), usize::from(result != Enqueue::Offline));
            }
            assert_ne!(results[1], Enqueue::Offline);
        });
    }
}

/// No interrupt can be sent at all: then each call is run by a poll of the target's, or withdrawn.
#[test]
fn loom_without_interrupts_each_call_is_polled_or_withdrawn() {
    check(|| {
        let model = Model::new();
        let senders = SENDERS.map(|from| {
            let model = model.clone();
            thread::spawn(move || model.send_if(from, false))
        });
        model.process();
        let results = senders.map(|sender| sender.join().unwrap());
        for (from, result) in SENDERS.into_iter().zip(results) {
            assert!(model.queues.is_done(from, 0), "the call of cpu {from} is stranded");
            assert_eq!(model.runs(from), usize::from(result != Enqueue::Offline));
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
        model.process();
        model.take_interrupts();
        let second = model.send(1);
        first.join().unwrap();
        model.take_interrupts();
        assert_ne!(second, Enqueue::Offline);
        for from in SENDERS {
            assert!(model.queues.is_done(from, 0), "the call of cpu {from} is stranded");
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
        model.process();
        for sender in senders {
            sender.join().unwrap();
        }
        model.take_interrupts();
        for from in SENDERS {
            assert!(model.queues.is_done(from, 0));
            assert_eq!(model.runs(from), 1);
        }
    });
}

#[test]
fn loom_a_call_is_run_or_withdrawn() {
    check(|| {
        let model = Model::new();
        let sender = thread::spawn({
            let model = model.clone();
            move || {
                model.send(0);
                model.queues.withdraw(0, 0, TARGET)
            }
        });
        model.process();
        let withdrawn = sender.join().unwrap();
        model.process();
        assert!(model.queues.is_done(0, 0));
        assert_eq!(model.runs(0), usize::from(!withdrawn));
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
        model.queues.close(TARGET);
        model.process();
        let result = sender.join().unwrap();
        // No interrupt is needed any more.
        assert!(model.queues.is_done(0, 0));
        assert_eq!(model.runs(0), usize::from(result != Enqueue::Offline));
    });
}

#[test]
fn loom_a_call_to_a_cpu_that_comes_back_is_run_or_refused() {
    check(|| {
        let model = Model::new();
        model.queues.close(TARGET);
        // An earlier call was refused.
        assert_eq!(model.send(1), Enqueue::Offline);
        let sender = thread::spawn({
            let model = model.clone();
            move || model.send(0)
        });
        model.queues.open(TARGET);
        let result = sender.join().unwrap();
        model.take_interrupts();
        assert!(model.queues.is_done(0, 0));
        assert_eq!(model.runs(0), usize::from(result != Enqueue::Offline));
    });
}

#[test]
fn loom_a_sender_sleeps_only_if_it_will_be_woken() {
    check(|| {
        let model = Model::new();
        model.send(0);
        let target = thread::spawn({
            let model = model.clone();
            move || model.process()
        });
        let is_done = model.queues.is_done_or_request_wake(0, 0);
        target.join().unwrap();
        assert!(model.queues.is_done(0, 0));
        assert_eq!(model.woken.load(Ordering::Acquire), usize::from(!is_done));
    });
}
