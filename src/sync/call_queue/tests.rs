use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

use super::*;

fn rows(cpus: usize) -> Vec<AtomicU64> {
    (0..CallQueues::words_for(cpus)).map(|_| AtomicU64::new(0)).collect()
}

fn slots(cpus: usize) -> Vec<CallSlot> {
    (0..CallQueues::slots_for(cpus)).map(|_| CallSlot::new()).collect()
}

/// Enqueues a call at an open queue. Returns whether an IPI was needed, which was sent.
fn enqueue(queues: &CallQueues, from: usize, slot: usize, to: usize) -> bool {
    match queues.enqueue(from, slot, to) {
        Enqueue::SendIpi(seen) => {
            queues.ipi_sent(to, seen);
            true
        }
        Enqueue::AlreadyPending => false,
        Enqueue::Offline => panic!("the queue of cpu {to} is open"),
    }
}

#[test]
fn one_interrupt_serves_all_that_come_before_it_is_taken() {
    let (rows, slots) = (rows(3), slots(3));
    let queues = CallQueues::new(3, &rows, &slots);
    queues.open(2);
    let put = |from, slot| {
        queues.prepare(from, slot, 7, from * SLOTS + slot);
        let needs_interrupt = enqueue(&queues, from, slot, 2);
        queues.set_target_count(from, slot, 1);
        needs_interrupt
    };
    assert_eq!([put(0, 0), put(1, 0), put(0, 1)], [true, false, false]);
    let mut seen = Vec::new();
    queues.process(2, |call| seen.push((call.from(), call.data)), |_| panic!("no sender halts"));
    assert_eq!(seen, [(0, 0), (0, 1), (1, SLOTS)]);
    queues.process(2, |_| panic!("there was no more"), |_| {});
    assert!(put(1, 3));
}

#[test]
fn a_target_that_has_not_begun_is_known_from_one_that_has_not_ended() {
    let (rows, slots) = (rows(200), slots(200));
    let queues = CallQueues::new(200, &rows, &slots);
    for to in [7, 199] {
        queues.open(to);
    }
    queues.prepare(3, 5, 0, 0);
    assert_eq!([7, 199].map(|to| enqueue(&queues, 3, 5, to)), [true; 2]);
    queues.set_target_count(3, 5, 2);
    queues.process(
        199,
        |_| {
            assert!(queues.is_running(3, 5, 199) && !queues.is_queued(3, 5, 199));
            assert!(!queues.withdraw(3, 5, 199));
        },
        |_| {},
    );
    assert!(!queues.is_running(3, 5, 199) && !queues.is_done(3, 5));
    assert!(queues.is_queued(3, 5, 7) && queues.withdraw(3, 5, 7));
    assert!(queues.is_done(3, 5));
    queues.process(7, |_| panic!("it was withdrawn"), |_| {});
}

#[test]
fn an_interrupt_that_was_not_sent_is_left_to_the_next_sender() {
    let (rows, slots) = (rows(3), slots(3));
    let queues = CallQueues::new(3, &rows, &slots);
    queues.open(2);
    for from in [0, 1] {
        queues.prepare(from, 0, 0, from);
        assert!(matches!(queues.enqueue(from, 0, 2), Enqueue::SendIpi(_)));
        queues.set_target_count(from, 0, 1);
    }
    // The first sender's IPI could not be sent.
    assert!(queues.withdraw(0, 0, 2) && queues.is_done(0, 0));
    let mut seen = Vec::new();
    queues.process(2, |call| seen.push(call.from()), |_| {});
    assert_eq!(seen, [1]);
}

#[test]
fn a_confirmation_that_comes_after_the_queue_was_processed_is_ignored() {
    let (rows, slots) = (rows(3), slots(3));
    let queues = CallQueues::new(3, &rows, &slots);
    queues.open(2);
    queues.prepare(0, 0, 0, 0);
    let Enqueue::SendIpi(seen) = queues.enqueue(0, 0, 2) else { panic!("no interrupt is pending") };
    queues.process(2, |_| {}, |_| {});
    queues.ipi_sent(2, seen);
    queues.prepare(1, 0, 0, 0);
    assert!(matches!(queues.enqueue(1, 0, 2), Enqueue::SendIpi(_)));
    // Nor does one reach a queue that was closed and opened meanwhile.
    let Enqueue::SendIpi(seen) = queues.enqueue(1, 1, 2) else { panic!("no interrupt is pending") };
    queues.close(2);
    queues.process(2, |_| {}, |_| {});
    queues.open(2);
    queues.ipi_sent(2, seen);
    assert!(matches!(queues.enqueue(1, 2, 2), Enqueue::SendIpi(_)));
}

#[test]
fn a_call_that_runs_may_process_the_rest_of_the_queue() {
    let (rows, slots) = (rows(2), slots(2));
    let queues = CallQueues::new(2, &rows, &slots);
    queues.open(1);
    for slot in 0..SLOTS {
        queues.prepare(0, slot, 0, slot);
        queues.enqueue(0, slot, 1);
        queues.set_target_count(0, slot, 1);
    }
    let mut inner = Vec::new();
    let mut outer = Vec::new();
    queues.process(
        1,
        |call| {
            outer.push(call.data);
            queues.process(1, |call| inner.push(call.data), |_| {});
        },
        |_| {},
    );
    assert_eq!((outer, inner), (vec![0], (1..SLOTS).collect()));
    assert!((0..SLOTS).all(|slot| queues.is_done(0, slot)));
}

/// Threads as CPUs, each of which sends many calls to all others and runs theirs. Complements the loom models of single
/// calls.
#[test]
fn a_crowd_loses_nothing() {
    const CPUS: usize = 4;
    const ROUNDS: usize = 2_000;
    let (rows, slots) = (rows(CPUS), slots(CPUS));
    let queues = CallQueues::new(CPUS, &rows, &slots);
    let interrupts = [const { AtomicBool::new(false) }; CPUS];
    let runs = [const { AtomicUsize::new(0) }; CPUS];
    let over = AtomicUsize::new(0);
    (0..CPUS).for_each(|cpu| queues.open(cpu));
    thread::scope(|scope| {
        for me in 0..CPUS {
            let (queues, interrupts, runs, over) = (&queues, &interrupts, &runs, &over);
            scope.spawn(move || {
                let take_interrupt = || {
                    if interrupts[me].swap(false, Ordering::AcqRel) {
                        let run = |_| {
                            runs[me].fetch_add(1, Ordering::Relaxed);
                        };
                        queues.process(me, run, |_| {});
                    }
                };
                for round in 0..ROUNDS {
                    let slot = round % SLOTS;
                    while !queues.is_done(me, slot) {
                        take_interrupt();
                        thread::yield_now();
                    }
                    queues.prepare(me, slot, 0, 0);
                    for to in (0..CPUS).filter(|to| *to != me) {
                        if let Enqueue::SendIpi(seen) = queues.enqueue(me, slot, to) {
                            interrupts[to].store(true, Ordering::Release);
                            queues.ipi_sent(to, seen);
                        }
                    }
                    queues.set_target_count(me, slot, CPUS - 1);
                }
                while !(0..SLOTS).all(|slot| queues.is_done(me, slot)) {
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
