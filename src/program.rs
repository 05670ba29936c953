//! A kernel's own program: a function that runs when the whole machine is up. [`program!`](crate::program!) names it. The
//! kernel of this package has [`stages::stress`](crate::stages::stress).

use core::fmt;

use crate::boot::BootInfo;
use crate::console::LineBuffer;
use crate::cpu::Features;
use crate::options::Options;
use crate::smp::{BringUp, WorkError};

pub use crate::heap::KernelHeap;
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

/// Makes a function the kernel's program: `fn(&Machine) -> Result<(), Reason>`. It is called once, on the BSP, with interrupts
/// on. Its result is the verdict of the run. A panic ends the run with a crash record.
///
/// ```ignore
/// #![no_std]
/// #![no_main]
/// octopod::program!(hello);
///
/// fn hello(machine: &Machine) -> Result<(), Reason> {
///     log::info!("hello from {} CPUs", machine.bring_up.online);
///     Ok(())
/// }
/// ```
///
/// A program has a heap: `Box`, `Vec`, `format!` and the rest of Rust's `alloc` work, on every CPU and in interrupt handlers
/// ([`heap`](mod@crate::heap)). `program!(hello, heap: Heap)` makes the unit structure `Heap`, a `GlobalAlloc`, the program's heap instead.
/// `program!(hello, heap: extern)` leaves it to the program, or to another crate, to have a `#[global_allocator]`.
///
/// A program links by `linker/kernel.ld`. The launcher builds each file in `examples/`.
#[macro_export]
macro_rules! program {
    ($function:path) => {
        $crate::program!($function, heap: $crate::program::KernelHeap);
    };
    ($function:path, heap: extern) => {
        #[unsafe(no_mangle)]
        extern "Rust" fn octopod_program(
            machine: &$crate::program::Machine,
        ) -> ::core::result::Result<(), $crate::program::Reason> {
            $function(machine)
        }
    };
    ($function:path, heap: $heap:path) => {
        #[global_allocator]
        static OCTOPOD_HEAP: $heap = $heap;

        $crate::program!($function, heap: extern);
    };
}
