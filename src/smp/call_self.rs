//! Calls of a CPU to itself: what cannot be done here and now, for an interrupt that comes as soon as it may.
//!
//! Nobody else has a part in it, so it is a list of the CPU's own, without an atomic operation.

use core::cell::Cell;
use core::time::Duration;

use super::CallError;
use super::call::Function;
use crate::apic::{self, ApicError};
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{self, IrqGuard};
use crate::interrupts::{Frame, Vector};
use crate::per_cpu;
use crate::time::timer;

/// Calls that may wait at once.
pub const ROOM: usize = 16;

fn nothing(_: usize) {}

/// Calls in the order in which they came: a ring. Both ends count on for good.
struct Waiting {
    first: Cell<usize>,
    end: Cell<usize>,
    calls: [Cell<(Function, usize)>; ROOM],
}

per_cpu! {
    static WAITING: Waiting =
        Waiting { first: Cell::new(0), end: Cell::new(0), calls: [const { Cell::new((nothing, 0)) }; ROOM] };
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
        let end = waiting.end.get();
        let before = end.wrapping_sub(waiting.first.get());
        if before >= ROOM {
            make_room(&guard);
        }
        waiting.calls[end % ROOM].set((function, data));
        waiting.end.set(end.wrapping_add(1));
        // If there was one before, its interrupt is still to come.
        if before != 0 {
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
fn by_timer(waiting: &Waiting, error: ApicError) -> Result<(), CallError> {
    if error != ApicError::InNmi && timer::after(Duration::ZERO, |_| run(&IrqGuard::new()), 0).is_ok() {
        return Ok(());
    }
    waiting.end.set(waiting.end.get().wrapping_sub(1));
    Err(CallError::NotSent { first: cpu::current(), error })
}

#[cold]
fn make_room(guard: &IrqGuard) {
    run(guard);
}

/// Runs all that waits.
#[inline]
pub(super) fn run(guard: &IrqGuard) {
    WAITING.with(guard, |waiting| {
        while waiting.first.get() != waiting.end.get() {
            let first = waiting.first.get();
            let (function, data) = waiting.calls[first % ROOM].get();
            // Before it runs: it may come back here.
            waiting.first.set(first.wrapping_add(1));
            function(data);
        }
    });
}

pub(super) fn interrupt(_: &mut Frame) {
    apic::end_of_interrupt();
    run(&IrqGuard::new());
}
