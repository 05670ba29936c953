//! A kernel's own program: a function that runs when the whole machine is up. [`program!`](crate::program!) names it. The
//! kernel of this package has [`stages::stress`](crate::stages::stress).

#[cfg(target_os = "none")]
mod machine;

#[cfg(target_os = "none")]
pub(crate) use machine::run;
#[cfg(target_os = "none")]
pub use machine::{Machine, Reason};

#[cfg(target_os = "none")]
pub use crate::heap::KernelHeap;

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
/// Built for the host, the program runs the workloads of the stress on the allocators that it registers, as `octopod stress --host` asks
/// it to, and never calls the function. Any other build for the host ends with an error, as it is one by mistake;
/// `OCTOPOD_HOST_PROGRAM=1` in the environment allows it.
///
/// A program links by `linker/kernel.ld`. The launcher builds each file in `examples/`.
#[macro_export]
macro_rules! program {
    ($function:path) => {
        $crate::program!($function, heap: $crate::program::KernelHeap);
    };
    ($function:path, heap: extern) => {
        #[cfg(target_os = "none")]
        #[unsafe(no_mangle)]
        extern "Rust" fn octopod_program(
            machine: &$crate::program::Machine,
        ) -> ::core::result::Result<(), $crate::program::Reason> {
            $function(machine)
        }

        $crate::program_on_host!();
    };
    ($function:path, heap: $heap:path) => {
        #[cfg(target_os = "none")]
        #[global_allocator]
        static OCTOPOD_HEAP: $heap = $heap;

        $crate::program!($function, heap: extern);
    };
}

/// The part of [`program!`](crate::program!) on the host, where the launcher has it built for the host.
#[cfg(all(not(target_os = "none"), octopod_host_program))]
#[doc(hidden)]
#[macro_export]
macro_rules! program_on_host {
    () => {
        #[unsafe(export_name = "main")]
        extern "C" fn octopod_on_host() -> ::core::ffi::c_int {
            $crate::stress::host::program::main()
        }
    };
}

/// The part of [`program!`](crate::program!) on the host, where nothing has asked for it: cargo's configuration lacks the target.
#[cfg(all(not(target_os = "none"), not(octopod_host_program)))]
#[doc(hidden)]
#[macro_export]
macro_rules! program_on_host {
    () => {
        ::core::compile_error! {
            "the kernel is built for the host; write into .cargo/config.toml: [build] target = \"x86_64-unknown-none\" \
             (`octopod stress --host` builds it for the host; by hand, OCTOPOD_HOST_PROGRAM=1 allows it)"
        }
    };
}

/// The kernel has no such part.
#[cfg(target_os = "none")]
#[doc(hidden)]
#[macro_export]
macro_rules! program_on_host {
    () => {};
}
