use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

use super::*;

fn rows(cpus: usize) -> Vec<AtomicU64> {
    (0..Inboxes::words_for(cpus)).map(|_| AtomicU64::new(0)).collect()
}

fn slots(cpus: usize) -> Vec<Slot> {
    (0..Inboxes::slots_for(cpus)).map(|_| Slot::new()).collect()
}

/// Puts a call into an open inbox; whether that took an interrupt, which was sent.
fn notify(inboxes: &Inboxes, from: usize, slot: usize, to: usize) -> bool {
    match inboxes.put(from, slot, to) {
        Put::Notify(seen) => {
            inboxes.notified(to, seen);
            true
        }
        Put::Quiet => false,
        Put::Closed => panic!("the inbox of cpu {to} is open"),
    }
}

#[test]
fn one_interrupt_serves_all_that_come_before_it_is_taken() {
    let (rows, slots) = (rows(3), slots(3));
    let inboxes = Inboxes::new(3, &rows, &slots);
    inboxes.open(2);
    let put = |from, slot| {
        inboxes.prepare(from, slot, 7, from * SLOTS + slot);
        let needs_interrupt = notify(&inboxes, from, slot, 2);
        inboxes.counted(from, slot, 1);
        needs_interrupt
    };
    assert_eq!([put(0, 0), put(1, 0), put(0, 1)], [true, false, false]);
    let mut seen = Vec::new();
    inboxes.answer(2, |call| seen.push((call.from(), call.data)), |_| panic!("nobody sleeps"));
    assert_eq!(seen, [(0, 0), (0, 1), (1, SLOTS)]);
    inboxes.answer(2, |_| panic!("there was no more"), |_| {});
    assert!(put(1, 3));
}

#[test]
fn a_target_that_has_not_begun_is_known_from_one_that_has_not_ended() {
    let (rows, slots) = (rows(200), slots(200));
    let inboxes = Inboxes::new(200, &rows, &slots);
    for to in [7, 199] {
        inboxes.open(to);
    }
    inboxes.prepare(3, 5, 0, 0);
    assert_eq!([7, 199].map(|to| notify(&inboxes, 3, 5, to)), [true; 2]);
    inboxes.counted(3, 5, 2);
    inboxes.answer(
        199,
        |_| {
            assert!(inboxes.is_running(3, 5, 199) && !inboxes.is_waiting(3, 5, 199));
            assert!(!inboxes.take_back(3, 5, 199));
        },
        |_| {},
    );
    assert!(!inboxes.is_running(3, 5, 199) && !inboxes.is_done(3, 5));
    assert!(inboxes.is_waiting(3, 5, 7) && inboxes.take_back(3, 5, 7));
    assert!(inboxes.is_done(3, 5));
    inboxes.answer(7, |_| panic!("it was taken back"), |_| {});
}

#[test]
fn an_interrupt_that_was_not_sent_is_left_to_the_next_sender() {
    let (rows, slots) = (rows(3), slots(3));
    let inboxes = Inboxes::new(3, &rows, &slots);
    inboxes.open(2);
    for from in [0, 1] {
        inboxes.prepare(from, 0, 0, from);
        assert!(matches!(inboxes.put(from, 0, 2), Put::Notify(_)));
        inboxes.counted(from, 0, 1);
    }
    // The first sender's could not be sent.
    assert!(inboxes.take_back(0, 0, 2) && inboxes.is_done(0, 0));
    let mut seen = Vec::new();
    inboxes.answer(2, |call| seen.push(call.from()), |_| {});
    assert_eq!(seen, [1]);
}

#[test]
fn a_confirmation_that_comes_after_the_inbox_was_processed_is_ignored() {
    let (rows, slots) = (rows(3), slots(3));
    let inboxes = Inboxes::new(3, &rows, &slots);
    inboxes.open(2);
    inboxes.prepare(0, 0, 0, 0);
    let Put::Notify(seen) = inboxes.put(0, 0, 2) else { panic!("no interrupt is pending") };
    inboxes.answer(2, |_| {}, |_| {});
    inboxes.notified(2, seen);
    inboxes.prepare(1, 0, 0, 0);
    assert!(matches!(inboxes.put(1, 0, 2), Put::Notify(_)));
    // Nor does one reach an inbox that was closed and opened meanwhile.
    let Put::Notify(seen) = inboxes.put(1, 1, 2) else { panic!("no interrupt is pending") };
    inboxes.close(2);
    inboxes.answer(2, |_| {}, |_| {});
    inboxes.open(2);
    inboxes.notified(2, seen);
    assert!(matches!(inboxes.put(1, 2, 2), Put::Notify(_)));
}

#[test]
fn a_call_that_runs_may_take_the_rest_of_the_inbox() {
    let (rows, slots) = (rows(2), slots(2));
    let inboxes = Inboxes::new(2, &rows, &slots);
    inboxes.open(1);
    for slot in 0..SLOTS {
        inboxes.prepare(0, slot, 0, slot);
        inboxes.put(0, slot, 1);
        inboxes.counted(0, slot, 1);
    }
    let mut inner = Vec::new();
    let mut outer = Vec::new();
    inboxes.answer(
        1,
        |call| {
            outer.push(call.data);
            inboxes.answer(1, |call| inner.push(call.data), |_| {});
        },
        |_| {},
    );
    assert_eq!((outer, inner), (vec![0], (1..SLOTS).collect()));
    assert!((0..SLOTS).all(|slot| inboxes.is_done(0, slot)));
}

/// Real threads as CPUs, each the sender of many calls to all others and the target of theirs; what loom shows for one
/// call, for a crowd.
#[test]
fn a_crowd_loses_nothing() {
    const CPUS: usize = 4;
    const ROUNDS: usize = 2_000;
    let (rows, slots) = (rows(CPUS), slots(CPUS));
    let inboxes = Inboxes::new(CPUS, &rows, &slots);
    let interrupts = [const { AtomicBool::new(false) }; CPUS];
    let runs = [const { AtomicUsize::new(0) }; CPUS];
    let over = AtomicUsize::new(0);
    (0..CPUS).for_each(|cpu| inboxes.open(cpu));
    thread::scope(|scope| {
        for me in 0..CPUS {
            let (inboxes, interrupts, runs, over) = (&inboxes, &interrupts, &runs, &over);
            scope.spawn(move || {
                let take_interrupt = || {
                    if interrupts[me].swap(false, Ordering::AcqRel) {
                        let run = |_| {
                            runs[me].fetch_add(1, Ordering::Relaxed);
                        };
                        inboxes.answer(me, run, |_| {});
                    }
                };
                for round in 0..ROUNDS {
                    let slot = round % SLOTS;
                    while !inboxes.is_done(me, slot) {
                        take_interrupt();
                        thread::yield_now();
                    }
                    inboxes.prepare(me, slot, 0, 0);
                    for to in (0..CPUS).filter(|to| *to != me) {
                        if let Put::Notify(seen) = inboxes.put(me, slot, to) {
                            interrupts[to].store(true, Ordering::Release);
                            inboxes.notified(to, seen);
                        }
                    }
                    inboxes.counted(me, slot, CPUS - 1);
                }
                while !(0..SLOTS).all(|slot| inboxes.is_done(me, slot)) {
                    take_interrupt();
                    thread::yield_now();
                }
                over.fetch_add(1, Ordering::AcqRel);
                while over.load(Ordering::Acquire) < CPUS {
                    take_interrupt();
                    thread::yield_now();
                }
            });
        }
    });
    assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == ROUNDS * (CPUS - 1)));
}
