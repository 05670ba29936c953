//! Wake-up IPIs, which end the halt of a CPU.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use super::{Cpu, cpus, online};
use crate::apic::{self, ApicError, Batch, Message};
use crate::cpu::{self, CpuId, CpuSet, IrqGuard};
use crate::interrupts::{TrapFrame, Vector};

/// Why a CPU was not woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WakeError {
    /// The first CPU to which no IPI could be sent.
    pub first: CpuId,
    /// The number of such CPUs.
    pub count: u32,
    /// Why no IPI could be sent to the first.
    pub error: ApicError,
}

impl fmt::Display for WakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WakeError { first, count, error } = self;
        write!(f, "cpu {first} was not woken: {error}")?;
        if *count > 1 { write!(f, "; nor were {} more", count - 1) } else { Ok(()) }
    }
}

/// The outcome of [`interrupt_each`].
pub(super) struct Woken {
    pub outcome: Result<(), WakeError>,
    /// The CPUs that were not woken.
    pub missed: CpuSet,
}

/// Sends each of these CPUs an IPI.
pub(super) fn interrupt_each(targets: impl Iterator<Item = CpuId>, vector: Vector) -> Woken {
    let mut batch = Batch::new();
    let mut woken = Woken { outcome: Ok(()), missed: CpuSet::EMPTY };
    for cpu in targets {
        let to = cpus()[cpu.index()].entry.apic_id;
        if let Err(error) = batch.send(&IrqGuard::new(), to, Message::Fixed(vector)) {
            woken.missed.insert(cpu);
            match &mut woken.outcome {
                Ok(()) => woken.outcome = Err(WakeError { first: cpu, count: 1, error }),
                Err(first) => first.count += 1,
            }
        }
    }
    woken
}

/// Ends the halt of every other online CPU, so that each rechecks the condition that it waits for.
///
/// **Context:** thread or interrupt, interrupts on or off; not NMI.
///
/// # Errors
/// [`WakeError`] if no IPI could be sent to some CPUs; all others were woken. A CPU that waits by
/// [`halt_until`](crate::time::halt_until) rechecks its condition by itself, only later, so it is enough to log the
/// error.
pub fn wake_others() -> Result<(), WakeError> {
    let me = cpu::current();
    interrupt_each(online().map(Cpu::id).filter(|cpu| *cpu != me), Vector::WAKE).outcome
}

/// As [`wake_others`], but logs an error.
pub fn wake_others_or_warn() {
    if let Err(error) = wake_others() {
        log::warn!("{error}");
    }
}

/// Lets the own thread of a CPU look whether it has something to do.
///
/// **Context:** thread or interrupt, interrupts on or off; not NMI.
///
/// # Errors
/// [`ApicError`] if no IPI could be sent.
pub(super) fn wake_cpu(cpu: &Cpu) -> Result<(), ApicError> {
    apic::send(&IrqGuard::new(), cpu.entry.apic_id, Message::Fixed(Vector::RESCHEDULE))
}

/// Ends the halt of a CPU that waits by [`halt_for`](crate::time::halt_for). If no IPI can be sent, the CPU rechecks its condition by itself,
/// only later.
#[inline]
pub(super) fn wake_waiter(cpu: &Cpu) {
    let message = Message::Fixed(Vector::WAKE);
    if let Err(error) = Batch::brief().send(&IrqGuard::new(), cpu.entry.apic_id, message) {
        not_woken(cpu, error);
    }
}

/// Logs the first such error only: a local APIC that cannot send causes many.
#[cold]
fn not_woken(cpu: &Cpu, error: ApicError) {
    static IS_REPORTED: AtomicBool = AtomicBool::new(false);
    if !IS_REPORTED.swap(true, Ordering::Relaxed) {
        log::warn!("cpu {} was not woken and continues later: {error}", cpu.id());
    }
}

/// Returns whether a CPU has work that it has not finished.
pub(super) fn is_due(cpu: &Cpu) -> bool {
    !cpu.work.is_idle()
}

/// The handler of the wake-up IPI, which only ends a halt.
pub(super) fn wake_interrupt(_: &mut TrapFrame) {
    apic::end_of_interrupt();
}
