//! The hook of the scheduler, which is a layer above.
//!
//! Each CPU has a thread of its own, which runs the idle loop and work for all CPUs. The scheduler runs other threads on the
//! CPU while that has nothing to do.

use core::cell::Cell;

use super::Cpu;
use super::pinned::{Affinity, PinnedThreads};
use crate::apic::{self, ApicError, Batch, Message};
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{CpuId, IrqGuard};
use crate::interrupts::{TrapFrame, Vector};
use crate::memory;
use crate::per_cpu;
use crate::sync::Hook;

/// The functions of the scheduler. **Context** of those with a guard: interrupts off by the guard alone.
#[derive(Clone, Copy)]
pub(crate) struct SchedulerOps {
    /// Runs threads until this CPU has none. Returns whether there was one; if not, the CPU may halt. Called by the CPU's own
    /// thread.
    pub run_threads: fn(&IrqGuard) -> bool,
    /// Another CPU has interrupted this one. Called by the handler.
    pub noticed: fn(&IrqGuard),
    /// The CPU leaves the set of online CPUs: its threads go to others.
    pub evacuate: fn(&IrqGuard),
    /// The CPU is in the set of online CPUs again.
    pub reopen: fn(&IrqGuard),
    /// A CPU is to go offline: from now on no thread is pinned to it. Returns the threads that may run on no other, if they keep their
    /// affinity; then nothing has changed. Called by another CPU, with interrupts on.
    pub prepare_offline: fn(CpuId, Affinity) -> Result<(), PinnedThreads>,
    /// The CPU of `prepare_offline` has gone offline, or stays online, or has acknowledged and is late: its hotplug state says which.
    pub finish_offline: fn(CpuId),
    /// Unmaps the stacks that are kept for new threads. Returns whether there were any. Called with interrupts on or off.
    pub release_stacks: fn() -> bool,
}

static SCHEDULER: Hook<SchedulerOps> = Hook::new();

per_cpu! {
    /// Whether this CPU's own thread has looked for threads, found none, and is interrupted for each that comes.
    static MAY_HALT: Cell<bool> = Cell::new(false);
}

/// Sets the scheduler's functions. Only the first call has an effect.
pub(crate) fn set_scheduler(ops: SchedulerOps) {
    SCHEDULER.set(ops);
}

/// Sends a CPU the IPI after which it looks for threads.
///
/// **Context:** thread or interrupt; interrupts off.
///
/// # Errors
/// [`ApicError`]: nothing was sent.
pub(crate) fn interrupt_own_thread(guard: &IrqGuard, cpu: &Cpu) -> Result<(), ApicError> {
    Batch::brief().send(guard, cpu.entry.apic_id, Message::Fixed(Vector::RESCHEDULE))
}

/// Halts the idle CPU until the next interrupt, unless there is a thread to run.
///
/// **Context:** the CPU's own thread, interrupts off by the guard alone.
#[inline(always)]
pub(super) fn halt_or_run(guard: &mut IrqGuard) {
    if MAY_HALT.get() || !runs_threads(guard) {
        memory::halt(guard);
    }
}

/// Runs threads, if there are any. If not, the CPU may halt again and again until [`look_again`].
#[inline(never)]
fn runs_threads(guard: &IrqGuard) -> bool {
    let has_run = SCHEDULER.get().is_some_and(|ops| (ops.run_threads)(guard));
    MAY_HALT.set(!has_run);
    has_run
}

/// Lets this CPU's own thread look for threads before it halts the next time.
///
/// **Context:** interrupts off.
#[inline(always)]
pub(crate) fn look_again(_: &IrqGuard) {
    MAY_HALT.set(false);
}

/// See [`SchedulerOps::evacuate`].
pub(super) fn evacuate(guard: &IrqGuard) {
    if let Some(ops) = SCHEDULER.get() {
        (ops.evacuate)(guard);
    }
}

/// See [`SchedulerOps::prepare_offline`].
pub(super) fn prepare_offline(cpu: CpuId, affinity: Affinity) -> Result<(), PinnedThreads> {
    SCHEDULER.get().map_or(Ok(()), |ops| (ops.prepare_offline)(cpu, affinity))
}

/// See [`SchedulerOps::finish_offline`].
pub(super) fn finish_offline(cpu: CpuId) {
    if let Some(ops) = SCHEDULER.get() {
        (ops.finish_offline)(cpu);
    }
}

/// See [`SchedulerOps::reopen`].
pub(super) fn reopen(guard: &IrqGuard) {
    if let Some(ops) = SCHEDULER.get() {
        (ops.reopen)(guard);
    }
}

/// See [`SchedulerOps::release_stacks`].
pub(super) fn release_stacks() -> bool {
    SCHEDULER.get().is_some_and(|ops| (ops.release_stacks)())
}

/// The handler of the IPI of other CPUs' schedulers.
pub(super) fn interrupt(frame: &mut TrapFrame) {
    apic::end_of_interrupt();
    look_again(frame.irq_guard());
    if let Some(ops) = SCHEDULER.get() {
        (ops.noticed)(frame.irq_guard());
    }
}
