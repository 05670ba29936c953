//! What the boot ends in: a function that finds the whole machine up. The kernel of this package has
//! [`stages::work`](crate::stages::work); a kernel of one's own names another, by [`program!`](crate::program!).

use core::fmt;

use crate::boot::BootInfo;
use crate::console::LineBuffer;
use crate::cpu::Features;
use crate::options::Options;
use crate::smp::BringUp;

pub use crate::report::Reason;
pub use crate::stress::ArenaHeap;

/// The machine, all of it up: every CPU that will come waits for work, interrupts are on, the page tables are final.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// How the kernel was loaded, and the machine's memory.
    pub boot: &'a BootInfo,
    /// The kernel's command line.
    pub options: &'a Options,
    /// What the processors have.
    pub features: &'a Features,
    /// How the CPUs came up.
    pub bring_up: &'a BringUp,
}

impl Reason {
    /// A program's own reason why the verdict is fail: one line, without a full stop, cut to what fits.
    pub fn of_program(reason: fmt::Arguments) -> Reason {
        Reason::Program(LineBuffer::format(reason))
    }
}

// It may be safe to call: `program!` defines the symbol, with this type; to define it otherwise takes `unsafe(no_mangle)`.
unsafe extern "Rust" {
    safe fn octopod_program(machine: &Machine) -> Result<(), Reason>;
}

/// Runs the program. Once, by the boot processor, with interrupts on.
pub(crate) fn run(machine: &Machine) -> Result<(), Reason> {
    octopod_program(machine)
}

/// Makes a function the kernel's program: `fn(&Machine) -> Result<(), Reason>`, called once, on the boot processor, with
/// interrupts on. When it returns, the run ends with that verdict; a panic ends it with last words.
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
/// `program!(hello, heap: Heap)` makes the unit structure `Heap`, a `GlobalAlloc`, the heap of Rust's `alloc`. Without it
/// there is none but what the stress needs for itself.
///
/// A program links by `linker/kernel.ld`. The launcher builds each file in `examples/`, which holds two.
#[macro_export]
macro_rules! program {
    ($function:path) => {
        $crate::program!($function, heap: $crate::program::ArenaHeap);
    };
    ($function:path, heap: $heap:path) => {
        #[global_allocator]
        static OCTOPOD_HEAP: $heap = $heap;

        #[unsafe(no_mangle)]
        extern "Rust" fn octopod_program(
            machine: &$crate::program::Machine,
        ) -> ::core::result::Result<(), $crate::program::Reason> {
            $function(machine)
        }
    };
}
