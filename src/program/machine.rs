//! What a program gets from the boot, and its call.

use core::fmt;

use crate::boot::BootInfo;
use crate::console::LineBuffer;
use crate::cpu::Features;
use crate::options::Options;
use crate::smp::{BringUp, WorkError};
use crate::thread::SpawnError;

pub use crate::report::reason::Reason;

/// The machine when it is up: all CPUs that came online wait for work, interrupts are on, the page tables are final.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// The boot information, with the memory map.
    pub boot: &'a BootInfo,
    /// The parsed kernel command line.
    pub options: &'a Options,
    /// The features of the processors.
    pub features: &'a Features,
    /// The result of the bring-up.
    pub bring_up: &'a BringUp,
}

impl Reason {
    /// A program's own reason for the verdict fail: one line, without a full stop, truncated to what fits.
    pub fn of_program(reason: fmt::Arguments) -> Reason {
        Reason::Program(LineBuffer::format(reason))
    }
}

/// Work that did not run on all CPUs fails the program that returns its error.
impl From<WorkError> for Reason {
    fn from(error: WorkError) -> Reason {
        Reason::Work(error)
    }
}

/// A thread that was not spawned fails the program that returns its error.
impl From<SpawnError> for Reason {
    fn from(error: SpawnError) -> Reason {
        Reason::of_program(format_args!("{error}"))
    }
}

// Safe to call: `program!` defines the symbol with this type. Another definition takes `unsafe(no_mangle)`.
unsafe extern "Rust" {
    safe fn octopod_program(machine: &Machine) -> Result<(), Reason>;
}

/// Runs the program.
///
/// **Context:** the thread of the BSP, interrupts on, once.
///
/// # Errors
/// The error that the program returns.
pub(crate) fn run(machine: &Machine) -> Result<(), Reason> {
    octopod_program(machine)
}
