//! Threads whose affinity changes at random.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use super::member::Member;
use super::worker::{Body, ThreadRun, Timed, Workload};
use crate::stress::failure::Failure;
use crate::stress::thread_platform::Spec;

/// How long a thread sleeps that another one moves.
const SLEEP: Duration = Duration::from_micros(50);

/// The most pairs.
const MOST_PAIRS: usize = 32;

/// In the word of a thread: it may run on any CPU, or its affinity is being changed.
const ANY: u64 = 0xffff_ffff;

/// The workload `affinity`.
pub(crate) static AFFINITY: Workload = Workload {
    name: "affinity",
    summary: "Threads change the CPUs on which they and others may run, at random, and check where they run.",
    is_default: true,
    on_host: false,
    timed: Timed::Nothing,
    holds_runs: false,
    run: Body::Threads(affinity),
    details: None,
};

/// In each pair the first thread changes its own affinity and that of the second one. The word has the CPU to which the second one is pinned,
/// below the number of changes.
fn affinity(run: &ThreadRun<'_>) {
    let pairs = run.cpus().min(MOST_PAIRS);
    let words: Vec<AtomicU64> = (0..pairs).map(|_| AtomicU64::new(ANY)).collect();
    run.run(2 * pairs, &|_| Spec::ANY, &|member| {
        let word = &words[member.number() / 2];
        if member.number().is_multiple_of(2) { change(member, word) } else { be_moved(member, word) }
    });
}

fn change(member: &mut Member<'_>, word: &AtomicU64) {
    let other = member.number() + 1;
    let mut changes = 0;
    while member.goes_on() {
        member.order(1);
        let cpu = random_cpu(member);
        member.pin_to(cpu);
        check(member, cpu);
        if other < member.threads() {
            changes += 1;
            word.store(changes << 32 | ANY, Ordering::Release);
            if member.rng.u8(..4) == 0 {
                member.unpin_other(other);
            } else {
                let cpu = random_cpu(member);
                member.pin_other(other, cpu);
                word.store(changes << 32 | u64::from(cpu), Ordering::Release);
            }
        }
        if member.rng.u8(..4) == 0 {
            member.unpin();
        }
        member.yield_now();
        member.done();
    }
}

fn random_cpu(member: &mut Member<'_>) -> u32 {
    let rank = member.rng.usize(..member.cpus());
    member.cpu_of(rank)
}

fn check(member: &Member<'_>, allowed: u32) {
    let cpu = member.cpu();
    if cpu != allowed {
        member.note(Failure::RanElsewhere { thread: member.number() as u32, cpu });
    }
}

/// A thread that waits while its affinity is changed runs no instruction where it may not run. If its word was the same before it
/// waited and after it has looked, there was no change meanwhile.
fn be_moved(member: &mut Member<'_>, word: &AtomicU64) {
    while member.goes_on() {
        member.order(1);
        let before = word.load(Ordering::Acquire);
        member.sleep(SLEEP);
        let cpu = member.cpu();
        if word.load(Ordering::Acquire) == before && before & ANY != ANY && before & ANY != u64::from(cpu) {
            member.note(Failure::RanElsewhere { thread: member.number() as u32, cpu });
        }
        member.done();
    }
}
