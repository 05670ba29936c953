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
        // The data is the sender's number, so that a call that is read too early is seen.
        self.inboxes.prepare(from, 0, 1, from);
        let put = self.inboxes.put(from, 0, TARGET);
        self.inboxes.counted(from, 0, usize::from(put != Put::Closed));
        if put == Put::Notify {
            self.interrupts.fetch_add(1, Ordering::AcqRel);
        }
        put
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
        assert!(puts.contains(&Put::Notify) && !puts.contains(&Put::Closed));
        model.take_interrupts();
        for from in SENDERS {
            assert!(model.inboxes.is_done(from, 0));
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
