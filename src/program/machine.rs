//! What a program gets from the boot, and its call.

use core::fmt;
use core::panic::Location;

use crate::boot::BootInfo;
use crate::console::LineBuffer;
use crate::cpu::Features;
use crate::interrupts::NoFreeVector;
use crate::memory::frames::FreeError;
use crate::memory::{DeviceMappingError, MapError, VmapError};
use crate::options::Options;
use crate::smp::hotplug::{OfflineError, OnlineError};
use crate::smp::{BringUp, CallError, SendError, ShootdownError, WakeError, WorkError};
use crate::sync::TimedOut;
use crate::task::StartError;
use crate::thread::sync::channel::{RecvError, RecvTimeoutError, TryRecvError};
use crate::thread::{AccessError, AffinityError, SpawnError};
use crate::time::timer::TimerError;
use crate::work::{self, DelayError};

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
    /// A program's own reason for the verdict fail: one line, without a full stop, truncated to what fits. The verdict adds the file
    /// and line of the call.
    #[track_caller]
    pub fn of_program(reason: fmt::Arguments) -> Reason {
        Reason::Program { reason: LineBuffer::format(reason), at: Location::caller() }
    }
}

/// Work that did not run on all CPUs fails the program that returns its error, with its own place.
impl From<WorkError> for Reason {
    #[track_caller]
    fn from(error: WorkError) -> Reason {
        Reason::Work { error, at: Some(Location::caller()) }
    }
}

/// Implements `From` for errors, whose texts become the reason: so `?` returns them from a program's function, with its own place.
macro_rules! reasons {
    ($($error:ty),* $(,)?) => {$(
        /// The error fails the program that returns it, with its own text.
        impl From<$error> for Reason {
            #[track_caller]
            fn from(error: $error) -> Reason {
                Reason::of_program(format_args!("{error}"))
            }
        }
    )*};
}

reasons! {
    AccessError,
    AffinityError,
    CallError,
    DelayError,
    DeviceMappingError,
    FreeError,
    MapError,
    NoFreeVector,
    OfflineError,
    OnlineError,
    RecvError,
    RecvTimeoutError,
    SendError,
    ShootdownError,
    SpawnError,
    StartError,
    TimedOut,
    TimerError,
    TryRecvError,
    VmapError,
    WakeError,
    work::StartError,
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
