//! Interrupts of the program to other CPUs.

use core::fmt;

use super::{Cpu, cpus};
use crate::apic::{self, ApicError, Message};
use crate::cpu::{self, CpuId, IrqGuard};
use crate::interrupts::ProgramVector;

/// Why no interrupt was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The CPU is not online.
    NotOnline(CpuId),
    /// The local APIC cannot send.
    NotSent(ApicError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::NotOnline(cpu) => write!(f, "no interrupt was sent to cpu {cpu}: it is not online"),
            SendError::NotSent(error) => write!(f, "no interrupt was sent: {error}"),
        }
    }
}

/// Sends a CPU, which may be this one, an interrupt on a vector of the program. The CPU takes it when its interrupts are on.
/// Interrupts on one vector that are sent before the CPU takes the first count as one or two.
///
/// **Context:** thread or interrupt; not NMI. Spins while the local APIC is busy, at most `ipi_delivery_ms`.
///
/// # Errors
/// [`SendError`]: nothing was sent.
pub fn send_interrupt(to: CpuId, vector: ProgramVector) -> Result<(), SendError> {
    let guard = IrqGuard::new();
    let target = cpus().get(to.index()).filter(|cpu| Cpu::is_online(cpu)).ok_or(SendError::NotOnline(to))?;
    let sent = if to == cpu::current() {
        apic::send_to_self(&guard, vector.vector())
    } else {
        apic::send(&guard, target.entry.apic_id, Message::Fixed(vector.vector()))
    };
    sent.map_err(SendError::NotSent)
}
