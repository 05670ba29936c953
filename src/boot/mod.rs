//! Layer 3: from the loader's hand-over to one plain [`BootInfo`]. Nothing past this folder knows how the kernel was
//! loaded.
//!
//! `rt0` is the first code that runs; `collect` copies what the loader left in memory before anybody may use that
//! memory for something else.

pub mod command_line;
pub(crate) mod defect;
pub(crate) mod io_regions;
pub mod memory_map;
pub mod multiboot1;
pub mod multiboot2;
pub(crate) mod physical;
pub mod pvh;

#[cfg(target_os = "none")]
mod collect;
#[cfg(target_os = "none")]
pub mod direct_map;
#[cfg(target_os = "none")]
pub(crate) mod image;
#[cfg(target_os = "none")]
mod rt0;

#[cfg(target_os = "none")]
pub use collect::{BootInfo, BootProtocol};
#[cfg(target_os = "none")]
pub(crate) use collect::{Rsdp, collect};
#[cfg(target_os = "none")]
pub(crate) use defect::{report_defect, unreported_defects};
#[cfg(target_os = "none")]
pub(crate) use rt0::{Handoff, Kaslr, early_gdt, early_idt, final_idt, handoff};

/// Entered by PVH.
pub const PROTOCOL_PVH: u32 = 0;
/// Entered by Multiboot 1.
pub const PROTOCOL_MULTIBOOT1: u32 = 1;
/// Entered by Multiboot 2.
pub const PROTOCOL_MULTIBOOT2: u32 = 2;

/// Where the unpacker enters an unpacked kernel, in bytes from its start; see `multiboot_entry.S`.
pub const UNPACKED_ENTRY: u32 = 8;

/// The longest kernel command line.
pub const MAX_COMMAND_LINE_BYTES: usize = 2048;

#[cfg(target_os = "none")]
use crate::{console, cpu::registers, wire};

/// Ends the run because this machine or loader will not do.
#[cfg(target_os = "none")]
pub(crate) fn refuse(reason: core::fmt::Arguments) -> ! {
    let reason = console::LineBuffer::<400>::format(reason);
    log::error!("{}", reason.as_str());
    console::send_last(&wire::Record::Refused(wire::Reason { reason: reason.as_str() }));
    registers::exit(wire::ExitCode::Refused)
}

/// Ends the run because the kernel command line is wrong.
#[cfg(target_os = "none")]
pub(crate) fn refuse_command_line(error: &command_line::CommandLineError) -> ! {
    let reason = console::LineBuffer::<{ command_line::MAX_MESSAGE_BYTES }>::format(format_args!("{error}"));
    log::error!("{}", reason.as_str());
    console::send_last(&wire::Record::Usage(wire::Reason { reason: reason.as_str() }));
    registers::exit(wire::ExitCode::Usage)
}
