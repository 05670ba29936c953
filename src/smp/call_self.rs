//! Calls of a CPU to itself: what cannot be done here and now, for an interrupt that comes as soon as it may.
//!
//! No other CPU has a part in it: the ring of [`SelfCalls`] is the CPU's own.

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
    static WAITING: SelfCalls = SelfCalls::new();
}

/// Has `function` run with `data` on this CPU by an interrupt, once interrupts are on; calls come in order. It runs with
/// interrupts off. Where [`ROOM`] calls wait already, they are run first, here: that takes interrupts off to happen.
///
/// If the local APIC cannot interrupt its own CPU, a timer does.
///
/// **Context:** any but NMI.
///
/// # Errors
/// [`CallError::NotSent`] if neither can. Then the function is not run.
#[inline]
pub fn call_self(function: Function, data: usize) -> Result<(), CallError> {
    let guard = IrqGuard::new();
    WAITING.with(&guard, |waiting| {
        // If there was one before, its interrupt is still to come.
        if !waiting.put(function, data) {
            return Ok(());
        }
        match apic::send_to_self(&guard, Vector::CALL_SELF) {
            Ok(()) => Ok(()),
            Err(error) => by_timer(waiting, error),
        }
    })
}

/// Has the timer interrupt this CPU, or takes back the only call that waits.
#[cold]
fn by_timer(waiting: &SelfCalls, error: ApicError) -> Result<(), CallError> {
    if error != ApicError::InNmi && timer::after(Duration::ZERO, |_| run(&IrqGuard::new()), 0).is_ok() {
        return Ok(());
    }
    waiting.take_back();
    Err(CallError::NotSent { first: cpu::current(), error })
}

/// Runs all that waits.
#[inline]
pub(super) fn run(guard: &IrqGuard) {
    WAITING.with(guard, SelfCalls::run);
}

pub(super) fn interrupt(_: &mut TrapFrame) {
    apic::end_of_interrupt();
    run(&IrqGuard::new());
}
