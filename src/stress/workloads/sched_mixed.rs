//! Threads that allocate and free frames while they yield, sleep and move to other CPUs.

use core::time::Duration;

use super::member::Member;
use super::worker::{Body, ThreadRun, Timed, Workload};
use crate::memory::frames::{FrameNumber, Order};
use crate::sched::sync::Mutex;
use crate::stress::failure::Failure;
use crate::stress::owners::thread_owner;
use crate::stress::thread_platform::Spec;

/// Threads of each CPU.
const OF_EACH: usize = 3;

/// The runs that a thread holds at most.
const HELD: usize = 16;

/// The runs that threads leave for others to free.
const LEFT: usize = 64;

/// The largest order.
const MOST_ORDER: u8 = 4;

/// The workload `sched_mixed`.
pub(crate) static SCHED_MIXED: Workload = Workload {
    name: "sched_mixed",
    summary: "Three threads for each CPU allocate and free frames, also those of other threads, while they yield, sleep and move to other CPUs.",
    is_default: true,
    on_host: false,
    timed: Timed::Allocation,
    holds_runs: false,
    run: Body::Threads(sched_mixed),
    details: None,
};

/// A run, and the number of the thread that has allocated it.
type LeftRun = (FrameNumber, Order, usize);

fn sched_mixed(run: &ThreadRun<'_>) {
    let left = Mutex::new(heapless::Vec::<LeftRun, LEFT>::new());
    run.run(OF_EACH * run.cpus(), &|_| Spec::ANY, &|member| {
        let mut held = heapless::Vec::<(FrameNumber, Order), HELD>::new();
        while member.goes_on() {
            member.order(1);
            step(member, &mut held, &left);
            member.done();
        }
        for (frame, order) in held {
            release(member, frame, order, member.number());
        }
        // A thread that ends later may leave some more, and frees them by this.
        while let Some((frame, order, of)) = member.blocking(|| left.lock().pop()) {
            release(member, frame, order, of);
        }
    });
}

fn step(
    member: &mut Member<'_>,
    held: &mut heapless::Vec<(FrameNumber, Order), HELD>,
    left: &Mutex<heapless::Vec<LeftRun, LEFT>>,
) {
    match member.rng.u8(..16) {
        0 => member.sleep(Duration::from_micros(20)),
        1..4 => member.yield_now(),
        4 => {
            let other = member.blocking(|| left.lock().pop());
            if let Some((frame, order, of)) = other {
                release(member, frame, order, of);
            }
        }
        5 | 6 => {
            if let Some((frame, order)) = held.pop() {
                let leave = || left.lock().push((frame, order, member.number())).is_err();
                if member.blocking(leave) {
                    release(member, frame, order, member.number());
                }
            }
        }
        7..12 if !held.is_full() => {
            let order = Order::new(member.rng.u8(..=MOST_ORDER)).unwrap_or(Order::FRAME);
            if let Some(frame) = acquire(member, order) {
                // There is room.
                let _ = held.push((frame, order));
            }
        }
        _ => {
            if !held.is_empty() {
                let index = member.rng.usize(..held.len());
                let (frame, order) = held.swap_remove(index);
                release(member, frame, order, member.number());
            }
        }
    }
}

/// Allocates a run, and records the thread as its owner. An allocation that fails is counted, and is no failure.
fn acquire(member: &mut Member<'_>, order: Order) -> Option<FrameNumber> {
    let began = member.samples().then(|| member.cycles());
    let frame = member.alloc(order)?;
    if let Some(began) = began {
        member.record_since(began);
    }
    let (shared, owner) = (member.shared(), thread_owner(member.number()));
    for index in 0..order.frames() {
        if let Err(violation) = shared.owners.acquire((frame + index).get(), owner) {
            member.note(Failure::OwnershipViolation(violation));
            return None;
        }
    }
    Some(frame)
}

/// Frees a run that the thread of that number has allocated.
fn release(member: &mut Member<'_>, frame: FrameNumber, order: Order, of: usize) {
    let (shared, owner) = (member.shared(), thread_owner(of));
    for index in 0..order.frames() {
        if let Err(violation) = shared.owners.release((frame + index).get(), owner) {
            member.note(Failure::OwnershipViolation(violation));
            return;
        }
    }
    // SAFETY: the run must be allocated and its memory unused. Nothing accesses the memory; the run was allocated by `acquire`, and is freed
    // once: its owner words were cleared above.
    unsafe { member.free(frame, order) };
}
