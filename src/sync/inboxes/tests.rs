use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

use super::*;

fn rows(cpus: usize) -> Vec<AtomicU64> {
    (0..Inboxes::words_for(cpus)).map(|_| AtomicU64::new(0)).collect()
}

fn slots(cpus: usize) -> Vec<Slot> {
    (0..Inboxes::slots_for(cpus)).map(|_| Slot::new()).collect()
}

#[test]
fn one_interrupt_serves_all_that_come_before_it_is_taken() {
    let (rows, slots) = (rows(3), slots(3));
    let inboxes = Inboxes::new(3, &rows, &slots);
    inboxes.open(2);
    let put = |from, slot| {
        inboxes.prepare(from, slot, 7, from * SLOTS + slot);
        let put = inboxes.put(from, slot, 2);
        inboxes.counted(from, slot, 1);
        put
    };
    assert_eq!([put(0, 0), put(1, 0), put(0, 1)], [Put::Notify, Put::Quiet, Put::Quiet]);
    let mut seen = Vec::new();
    inboxes.answer(2, |call| seen.push((call.from(), call.data)), |_| panic!("nobody sleeps"));
    assert_eq!(seen, [(0, 0), (0, 1), (1, SLOTS)]);
    inboxes.answer(2, |_| panic!("there was no more"), |_| {});
    assert_eq!(put(1, 3), Put::Notify);
}

#[test]
fn a_target_that_has_not_begun_is_known_from_one_that_has_not_ended() {
    let (rows, slots) = (rows(200), slots(200));
    let inboxes = Inboxes::new(200, &rows, &slots);
    for to in [7, 199] {
        inboxes.open(to);
    }
    inboxes.prepare(3, 5, 0, 0);
    assert_eq!([7, 199].map(|to| inboxes.put(3, 5, to)), [Put::Notify; 2]);
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
                        if inboxes.put(me, slot, to) == Put::Notify {
                            interrupts[to].store(true, Ordering::Release);
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
