//! The vectors of the program. It takes one of a fixed range for each interrupt that it handles.

use core::cell::Cell;
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::frame::TrapFrame;
use super::unregistered::{UNEXPECTED, acknowledge};
use super::vector::Vector;
use super::{counts, handlers};
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;
use crate::per_cpu;
use crate::sync::Hook;

/// A handler of the program. The argument is the vector, so that several vectors can share a function.
pub type ProgramHandler = fn(ProgramVector);

/// How many vectors have been taken, and then some if more were asked for.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// The handlers for all CPUs.
static PROGRAM_HANDLERS: [Hook<ProgramHandler>; Vector::PROGRAM_COUNT] =
    [const { Hook::new() }; Vector::PROGRAM_COUNT];

per_cpu! {
    /// The handlers of this CPU alone, which replace those for all.
    static OWN_HANDLERS: [Cell<Option<ProgramHandler>>; Vector::PROGRAM_COUNT] =
        [const { Cell::new(None) }; Vector::PROGRAM_COUNT];
}

/// A vector that belongs to the program, for the rest of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramVector(u8);

/// All vectors of the program's range are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFreeVector;

impl fmt::Display for NoFreeVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "all {} interrupt vectors of the program are taken", Vector::PROGRAM_COUNT)
    }
}

impl ProgramVector {
    /// Takes a free vector from [`Vector::PROGRAM_FIRST`] on, and registers `handler` for it on every CPU. `name` appears in the
    /// table of interrupts.
    ///
    /// The handler runs in interrupt context: interrupts off, on the stack of the interrupted code. It must not block. When it
    /// returns, the interrupt is acknowledged to the local APIC, unless an INT instruction raised it.
    ///
    /// **Context:** thread or interrupt; not NMI. Takes a lock.
    ///
    /// # Errors
    /// [`NoFreeVector`] if the program has taken all of them.
    pub fn allocate(name: &'static str, handler: ProgramHandler) -> Result<ProgramVector, NoFreeVector> {
        let take = |taken: usize| (taken < Vector::PROGRAM_COUNT).then_some(taken + 1);
        let index =
            TAKEN.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take).map_err(|_| NoFreeVector)?;
        PROGRAM_HANDLERS[index].set(handler);
        let vector = ProgramVector(Vector::PROGRAM_FIRST.get() + index as u8);
        counts::set_name(vector.vector(), name);
        handlers::replace(vector.vector(), dispatch);
        Ok(vector)
    }

    /// Handles the interrupts of this vector on this CPU by `handler`; with `None` again by the one for all CPUs. Returns the
    /// previous one.
    ///
    /// **Context:** thread or interrupt; not NMI.
    pub fn set_on_this_cpu(
        self,
        guard: &IrqGuard,
        handler: Option<ProgramHandler>,
    ) -> Option<ProgramHandler> {
        OWN_HANDLERS.with(guard, |handlers| handlers[self.index()].replace(handler))
    }

    /// Returns the vector's number, for a device: the low byte of the data of an MSI.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Returns it as a vector.
    pub(crate) const fn vector(self) -> Vector {
        Vector::new(self.0)
    }

    const fn index(self) -> usize {
        (self.0 - Vector::PROGRAM_FIRST.get()) as usize
    }
}

/// The handler of a vector that the program has taken.
fn dispatch(frame: &mut TrapFrame) {
    let vector = ProgramVector(frame.vector as u8);
    let own = OWN_HANDLERS.with(frame.irq_guard(), |handlers| handlers[vector.index()].get());
    match own.or_else(|| PROGRAM_HANDLERS[vector.index()].get()) {
        Some(handler) => handler(vector),
        None => UNEXPECTED.increment(),
    }
    acknowledge(vector.vector());
}
