//! Layer 3: the boot protocols. `rt0` is the first code that runs. `collect` copies the boot information out of the loader's
//! memory, before the kernel uses that memory for other purposes, and makes one [`BootInfo`] of it. No other folder depends on
//! the boot protocol.

pub mod command_line;
pub(crate) mod defect;
pub(crate) mod io_regions;
#[doc(hidden)]
pub mod memory_map;
#[doc(hidden)]
pub mod module_archive;
#[doc(hidden)]
pub mod multiboot1;
#[doc(hidden)]
pub mod multiboot2;
pub(crate) mod physical;
#[doc(hidden)]
pub mod pvh;

#[cfg(target_os = "none")]
mod collect;
#[cfg(target_os = "none")]
#[doc(hidden)]
pub mod direct_map;
#[cfg(target_os = "none")]
pub(crate) mod image;
#[cfg(target_os = "none")]
mod modules;
#[cfg(target_os = "none")]
mod rt0;

#[cfg(target_os = "none")]
pub use collect::{BootInfo, BootProtocol};
#[cfg(target_os = "none")]
pub(crate) use collect::{Rsdp, collect};
#[cfg(target_os = "none")]
pub(crate) use defect::{report_defect, unreported_defects};
#[cfg(target_os = "none")]
pub use modules::{Module, module, modules};
#[cfg(target_os = "none")]
pub(crate) use rt0::{Handoff, Kaslr, early_gdt, early_idt, final_idt, handoff};

/// The number of the boot protocol PVH.
#[doc(hidden)]
pub const PROTOCOL_PVH: u32 = 0;
/// The number of the boot protocol Multiboot 1.
#[doc(hidden)]
pub const PROTOCOL_MULTIBOOT1: u32 = 1;
/// The number of the boot protocol Multiboot 2.
#[doc(hidden)]
pub const PROTOCOL_MULTIBOOT2: u32 = 2;

/// Offset of the entry point for the unpacker, in bytes from the start of the image; see `multiboot_entry.S`.
#[doc(hidden)]
pub const UNPACKED_ENTRY: u32 = 8;

/// The maximum length of the kernel command line, in bytes.
pub const MAX_COMMAND_LINE_BYTES: usize = 2048;

#[cfg(target_os = "none")]
use crate::{console, cpu::registers, wire};

/// Reports that this machine or loader cannot run the kernel, and exits with [`ExitCode::Refused`](wire::ExitCode::Refused).
///
/// **Context:** the BSP, before other CPUs run; interrupts off.
#[cfg(target_os = "none")]
pub(crate) fn refuse(reason: core::fmt::Arguments) -> ! {
    let reason = console::LineBuffer::<400>::format(reason);
    log::error!("{}", reason.as_str());
    console::send_last(&wire::Record::Refused(wire::ExitReason { reason: reason.as_str() }));
    registers::exit(wire::ExitCode::Refused)
}

/// Reports an invalid kernel command line, and exits with [`ExitCode::Usage`](wire::ExitCode::Usage).
///
/// **Context:** the BSP, before other CPUs run; interrupts off.
#[cfg(target_os = "none")]
pub(crate) fn refuse_command_line(error: &command_line::CommandLineError) -> ! {
    let reason = console::LineBuffer::<{ command_line::MAX_MESSAGE_BYTES }>::format(format_args!("{error}"));
    log::error!("{}", reason.as_str());
    console::send_last(&wire::Record::Usage(wire::ExitReason { reason: reason.as_str() }));
    registers::exit(wire::ExitCode::Usage)
}
