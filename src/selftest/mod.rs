//! Layer 10: what only the machine itself can show of the kernel. `work=selftest` runs its parts one after the other,
//! each on every CPU; `selftest.parts=` chooses among them.

mod calls;
mod clock;
mod contexts;
mod handles;
mod log;
mod meeting;
mod misuse;
mod nmis;
mod offline;
mod serial;
mod shootdown;
mod timers;
mod vectors;
mod zeroing;
mod zones;

#[cfg(feature = "faults")]
pub use vectors::faults::arm as arm_clobber;

use core::fmt;
use core::ptr::fn_addr_eq;

use crate::boot::command_line::Part;
use crate::interrupts::{self, HandlerSlot, Vector};
use crate::smp::{self, Cpu, WorkError};
use crate::sync::IrqMutex;

use meeting::Meeting;

/// Why work was not run on all CPUs, the first time.
static NOT_RUN: IrqMutex<Option<WorkError>> = IrqMutex::new(None);
crate::name_lock!(NOT_RUN);

/// As [`smp::run_on_all`]. An error is the failure of the part that calls this, whatever else that finds.
fn run_on_all(limit_ms: u64, work: &(dyn Fn(&'static Cpu) + Sync)) {
    if let Err(error) = smp::run_on_all(limit_ms, work) {
        ::log::error!("{error}");
        NOT_RUN.lock().get_or_insert(error);
    }
}

/// What a part found.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// Work was not run on all CPUs.
    Work(WorkError),
    /// [`Part::Calls`]
    Calls(calls::Failure),
    /// [`Part::Offline`]
    Offline(offline::Failure),
    /// [`Part::Serial`]
    Serial(serial::Failure),
    /// [`Part::Log`]
    Log(log::Failure),
    /// [`Part::Shootdown`]
    Shootdown(shootdown::Failure),
    /// [`Part::Clock`]
    Clock(clock::Failure),
    /// [`Part::Contexts`]
    Contexts(contexts::Failure),
    /// [`Part::Handles`]
    Handles(handles::Failure),
    /// [`Part::Misuse`]
    Misuse(misuse::Failure),
    /// [`Part::Timers`]
    Timers(timers::Failure),
    /// [`Part::Vectors`]
    Vectors(vectors::Failure),
    /// [`Part::Zeroing`]
    Zeroing(zeroing::Failure),
    /// [`Part::Zones`]
    Zones(zones::Failure),
    /// A part did not restore the handler of a vector.
    Handler {
        /// The part.
        part: Part,
        /// The vector.
        vector: u8,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Work(error) => error.fmt(f),
            Failure::Calls(failure) => failure.fmt(f),
            Failure::Offline(failure) => failure.fmt(f),
            Failure::Serial(failure) => failure.fmt(f),
            Failure::Log(failure) => failure.fmt(f),
            Failure::Shootdown(failure) => failure.fmt(f),
            Failure::Clock(failure) => failure.fmt(f),
            Failure::Contexts(failure) => failure.fmt(f),
            Failure::Handles(failure) => failure.fmt(f),
            Failure::Misuse(failure) => failure.fmt(f),
            Failure::Timers(failure) => failure.fmt(f),
            Failure::Vectors(failure) => failure.fmt(f),
            Failure::Zeroing(failure) => failure.fmt(f),
            Failure::Zones(failure) => failure.fmt(f),
            Failure::Handler { part, vector } => {
                write!(f, "the part {} has not restored the handler of vector {vector}", part.name())
            }
        }
    }
}

/// The handler of each vector before the first part, for each part must restore those that it replaces.
static HANDLERS_BEFORE: [HandlerSlot; 256] = [const { HandlerSlot::new(interrupts::UNREGISTERED) }; 256];

/// Runs the parts, each that goes in rounds for `rounds` of them. Only the boot processor calls this, with interrupts on,
/// when all CPUs wait for work.
///
/// # Errors
/// The first failure of the first part that fails.
#[inline(never)]
pub fn run(parts: &[Part], rounds: u32) -> Result<(), Failure> {
    for (vector, before) in HANDLERS_BEFORE.iter().enumerate() {
        before.replace(interrupts::handler(Vector::new(vector as u8)));
    }
    for part in parts {
        let outcome = run_one(*part, rounds);
        if let Some(error) = *NOT_RUN.lock() {
            return Err(Failure::Work(error));
        }
        outcome?;
        for (vector, before) in (0..=u8::MAX).zip(&HANDLERS_BEFORE) {
            if !fn_addr_eq(before.get(), interrupts::handler(Vector::new(vector))) {
                return Err(Failure::Handler { part: *part, vector });
            }
        }
    }
    Ok(())
}

fn run_one(part: Part, rounds: u32) -> Result<(), Failure> {
    match part {
        Part::Calls => calls::run(rounds).map_err(Failure::Calls),
        Part::Offline => offline::run(rounds).map_err(Failure::Offline),
        Part::Serial => serial::run().map_err(Failure::Serial),
        Part::Log => log::run().map_err(Failure::Log),
        Part::Shootdown => shootdown::run(rounds).map_err(Failure::Shootdown),
        Part::Clock => clock::run().map_err(Failure::Clock),
        Part::Contexts => contexts::run().map_err(Failure::Contexts),
        Part::Handles => handles::run().map_err(Failure::Handles),
        Part::Misuse => misuse::run().map_err(Failure::Misuse),
        Part::Timers => timers::run().map_err(Failure::Timers),
        Part::Vectors => vectors::run().map_err(Failure::Vectors),
        Part::Zeroing => zeroing::run().map_err(Failure::Zeroing),
        Part::Zones => zones::run().map_err(Failure::Zones),
    }
}
