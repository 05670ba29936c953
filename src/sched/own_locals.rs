//! The running thread's table of thread-local values.

use super::locals::{AccessError, Locals};
use super::tcb::Tcb;
use crate::cpu::{interrupts_enabled, thread};

/// Calls a function with the table of the running thread.
#[inline(always)]
pub(super) fn with_locals<R>(f: impl FnOnce(&Locals) -> R) -> Result<R, AccessError> {
    if !interrupts_enabled() {
        return Err(AccessError::InterruptsOff);
    }
    let tcb = core::ptr::with_exposed_provenance::<Tcb>(thread::current_scheduled());
    // SAFETY: the address must be null or that of a block that lives until `f` has returned. It is that of the running thread's
    // (`Tcb::init_in_place`), and `f` runs on that thread, which lives meanwhile.
    match unsafe { tcb.as_ref() } {
        // Interrupts are on, so this is not a handler that interrupts another access.
        Some(tcb) => Ok(f(tcb.locals())),
        None => Err(AccessError::NoThread),
    }
}
