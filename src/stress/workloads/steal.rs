//! All work comes to one CPU, and the others take it.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::member::Member;
use super::worker::{Body, ThreadRun, Timed, Workload};
use crate::sched::sync::{Barrier, OnceLock};
use crate::stress::failure::Failure;
use crate::stress::thread_platform::Spec;

/// Threads of each CPU.
const OF_EACH: usize = 2;

/// The steps of a thread between two times at which all meet on the first CPU.
const STEPS: usize = 8;

/// How long a step computes.
const WORK: u32 = 300;

/// The workload `steal`.
pub(crate) static STEAL: Workload = Workload {
    name: "steal",
    summary: "All threads come to the first CPU again and again, from which the other CPUs have to steal them.",
    is_default: true,
    on_host: false,
    timed: Timed::Nothing,
    holds_runs: false,
    run: Body::Threads(steal),
    details: None,
};

fn steal(run: &ThreadRun<'_>) {
    let first = run.cpu(0);
    let threads = (OF_EACH * run.cpus()).max(2);
    let elsewhere = AtomicU64::new(0);
    let rounds = AtomicU64::new(0);
    // With as many parties as there are threads: it is made by the first.
    let barrier = OnceLock::new();
    // Without memory for two threads there is none to steal.
    let can_steal = AtomicBool::new(false);
    run.run(threads, &|_| Spec::ANY, &|member| {
        let threads = member.threads();
        can_steal.store(threads > 1 && member.cpus() > 1, Ordering::Relaxed);
        let barrier = member.blocking(|| barrier.get_or_init(|| Barrier::new(threads)));
        let mut round = 0;
        loop {
            // One decides for all whether there is another round.
            if member.number() == 0 {
                let goes_on = member.goes_on() || lacks_thief(member, &elsewhere);
                rounds.store(if goes_on { round + 1 } else { round }, Ordering::Release);
            }
            member.blocking(|| barrier.wait());
            if rounds.load(Ordering::Acquire) == round {
                break;
            }
            round += 1;
            member.pin_to(first);
            member.blocking(|| barrier.wait());
            member.unpin();
            for _ in 0..STEPS {
                step(member, first, &elsewhere);
            }
        }
    });
    if can_steal.into_inner() && elsewhere.into_inner() == 0 {
        run.note(Failure::NotStolen { cpu: first });
    }
}

/// Whether no other CPU has taken a thread yet, and there is another one that can: from the start of the workload it has as much time as a
/// thread has for a step.
fn lacks_thief(member: &Member<'_>, elsewhere: &AtomicU64) -> bool {
    member.threads() > 1 && member.cpus() > 1 && elsewhere.load(Ordering::Relaxed) == 0 && !member.is_late()
}

fn step(member: &Member<'_>, first: u32, elsewhere: &AtomicU64) {
    member.order(1);
    for _ in 0..WORK {
        core::hint::spin_loop();
    }
    if member.cpu() != first {
        elsewhere.fetch_add(1, Ordering::Relaxed);
    }
    member.yield_now();
    member.done();
}
