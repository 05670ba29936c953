//! Fault injection: bugs of the scheduler that the tests arm, to show that the checks find them.

use super::entity::{DEFAULT_SLICE_NS, Runnable};
use super::fault_names::sched_faults;
use crate::boot::command_line::Armed;
use crate::named;
use crate::smp::{self, Cpu};
use crate::sync::Timeout;

sched_faults! { named! {
    /// A fault of the scheduler.
    pub(crate) enum SchedFault {}
} }

static ARMED: Armed<SchedFault> = Armed::new();

/// How often a thread is woken or queued before one is lost: the boot is over by then.
const AFTER: usize = 40;

/// Of so many stacks one is leaked.
const EVERY: usize = 4;

/// Arms a fault, or none.
pub(crate) fn arm(fault: Option<SchedFault>) {
    ARMED.arm(fault);
}

/// Returns whether this fault is armed.
pub(super) fn is_armed(fault: SchedFault) -> bool {
    ARMED.is(fault)
}

/// Returns whether a fault is armed by which a wait may never end, so that waits need not be long. With the others they are as long as
/// without a fault: a check that passes must not end before its time on a slow machine.
pub(crate) fn may_hang() -> bool {
    use SchedFault::{
        ForgetThread, InvertPriority, LoseWake, NeverSteal, SkipPreempt, StealSkipsCpu, WakeBeforeBlock,
    };
    [ForgetThread, InvertPriority, LoseWake, NeverSteal, SkipPreempt, StealSkipsCpu, WakeBeforeBlock]
        .into_iter()
        .any(is_armed)
}

/// Returns whether this wake-up is lost.
pub(super) fn loses_wake() -> bool {
    ARMED.strikes_once(SchedFault::LoseWake, AFTER)
}

/// Returns whether this thread is not queued.
pub(super) fn forgets_thread() -> bool {
    ARMED.strikes_once(SchedFault::ForgetThread, AFTER)
}

/// Returns whether this stack is leaked.
pub(super) fn leaks_stack() -> bool {
    ARMED.strikes(SchedFault::LeakStack, EVERY)
}

/// Before a thread that has looked is put on its list: other CPUs have the time to wake it.
pub(super) fn be_late() {
    const LATE_MS: u64 = 2;
    let _ = Timeout::after_ms(LATE_MS).wait_until(|| false);
}

/// Returns whether idle CPUs take no thread from this CPU.
pub(super) fn spares(victim: &Cpu) -> bool {
    is_armed(SchedFault::NeverSteal)
        || is_armed(SchedFault::StealSkipsCpu)
            && smp::cpus().last().is_some_and(|last| last.id() == victim.id())
}

/// Returns the time for which a thread is charged that has run for `ran_ns`. Of threads without a slice of their own some would wait for
/// minutes where many spin.
pub(super) fn charged_ns(thread: &Runnable, ran_ns: u64) -> u64 {
    let is_favoured = || thread.attributes().slice_ns != DEFAULT_SLICE_NS && thread.id().0.is_multiple_of(2);
    if is_armed(SchedFault::Unfair) && is_favoured() { ran_ns / 64 } else { ran_ns }
}
