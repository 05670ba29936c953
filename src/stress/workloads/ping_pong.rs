//! Pairs of threads that wake each other.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use super::member::Member;
use super::worker::{Body, ThreadRun, Timed, Workload};
use crate::stress::failure::Failure;
use crate::stress::thread_platform::Spec;

/// The turn that ends a pair.
const END: u64 = u64::MAX;

/// The most pairs.
const MOST_PAIRS: usize = 64;

/// The workload `ping_pong`.
pub(crate) static PING_PONG: Workload = Workload {
    name: "ping_pong",
    summary: "Pairs of threads wake each other by `unpark`, some on one CPU, some on two, some on any.",
    is_default: true,
    on_host: false,
    timed: Timed::RoundTrip,
    holds_runs: false,
    run: Body::Threads(ping_pong),
    details: None,
};

/// A pair for each CPU. The odd thread of a pair takes the odd turns, the even one the even turns.
fn ping_pong(run: &ThreadRun<'_>) {
    let pairs = run.cpus().min(MOST_PAIRS);
    let turns: Vec<AtomicU64> = (0..pairs).map(|_| AtomicU64::new(0)).collect();
    let spec = |number: usize| match (number / 2) % 3 {
        0 => Spec::ANY,
        1 => Spec::pinned(run.cpu(number / 2)),
        _ => Spec::pinned(run.cpu(number)),
    };
    run.run(2 * pairs, &spec, &|member| {
        let turn = &turns[member.number() / 2];
        if !member.number().is_multiple_of(2) {
            answer(member, turn);
        } else if member.number() + 1 < member.threads() {
            begin(member, turn);
        }
    });
}

/// Wakes the other thread, and waits for it.
fn begin(member: &mut Member<'_>, turn: &AtomicU64) {
    let other = member.number() + 1;
    let mut now = 0;
    while member.goes_on() {
        let began = member.cycles();
        pass(member, turn, now + 1);
        if await_turn(member, turn, now + 2).is_none() {
            break;
        }
        member.record_since(began);
        now += 2;
    }
    turn.store(END, Ordering::Release);
    member.unpark(other);
}

/// Waits for the other thread, and wakes it, until that ends.
fn answer(member: &Member<'_>, turn: &AtomicU64) {
    let mut now = 0;
    while await_turn(member, turn, now + 1).is_some() {
        pass(member, turn, now + 2);
        now += 2;
    }
}

/// Gives the turn to the other thread: a step that this one orders.
fn pass(member: &Member<'_>, turn: &AtomicU64, next: u64) {
    member.order(1);
    turn.store(next, Ordering::Release);
    member.unpark(member.number() ^ 1);
}

/// Waits for a turn, and does the step. `None` if the pair has ended. A `park` may return without a reason.
fn await_turn(member: &Member<'_>, turn: &AtomicU64, expected: u64) -> Option<()> {
    loop {
        match turn.load(Ordering::Acquire) {
            END => return None,
            found if found == expected => {
                member.done();
                return Some(());
            }
            found if found == expected - 1 => member.park(),
            found => {
                member.note(Failure::WrongTurn { thread: member.number() as u32, expected, found });
                turn.store(END, Ordering::Release);
                member.unpark(member.number() ^ 1);
                return None;
            }
        }
    }
}
