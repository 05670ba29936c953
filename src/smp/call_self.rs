//! Calls of a CPU to itself, for what cannot be done in the current context. An interrupt runs them as soon as interrupts
//! are on.
//!
//! No other CPU takes part: the ring of [`SelfCalls`] is the CPU's own.

use core::time::Duration;

use super::CallError;
use crate::apic::{self, ApicError};
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{self, IrqGuard};
use crate::interrupts::{TrapFrame, Vector};
use crate::per_cpu;
pub use crate::sync::self_calls::ROOM;
use crate::sync::self_calls::{Function, SelfCalls};
use crate::time::timer;

per_cpu! {
    static PENDING: SelfCalls = SelfCalls::new();
}

/// Runs `function` with `data` on this CPU in an interrupt, with interrupts off, as soon as interrupts are on. Calls run
/// in order. If [`ROOM`] calls are pending, they run first, in the current context; this happens only if interrupts have
/// been off.
///
/// If the local APIC cannot send a self-IPI, a timer runs the call.
///
/// **Context:** thread or interrupt, interrupts on or off; not NMI.
///
/// # Errors
/// [`CallError::NotSent`] if neither the self-IPI nor the timer is possible. The function is not run.
#[inline]
pub fn call_self(function: Function, data: usize) -> Result<(), CallError> {
    let guard = IrqGuard::new();
    PENDING.with(&guard, |calls| {
        // If another call is pending, so is its interrupt.
        if !calls.push(function, data) {
            return Ok(());
        }
        match apic::send_to_self(&guard, Vector::CALL_SELF) {
            Ok(()) => Ok(()),
            Err(error) => by_timer(calls, error),
        }
    })
}

/// Arms a timer to run the calls, or withdraws the only pending call.
#[cold]
fn by_timer(calls: &SelfCalls, error: ApicError) -> Result<(), CallError> {
    if error != ApicError::InNmi && timer::after(Duration::ZERO, |_| run(&IrqGuard::new()), 0).is_ok() {
        return Ok(());
    }
    calls.withdraw_last();
    Err(CallError::NotSent { first: cpu::current(), error })
}

/// Runs all pending calls.
#[inline]
pub(super) fn run(guard: &IrqGuard) {
    PENDING.with(guard, SelfCalls::run);
}

/// The handler of the self-IPI.
pub(super) fn interrupt(_: &mut TrapFrame) {
    apic::end_of_interrupt();
    run(&IrqGuard::new());
}
