//! The command `backtrace`.

use super::error::{CommandError, listed};
use crate::boot;
use crate::console;
use crate::cpu::{self, CpuId, registers};
use crate::panic;
use crate::smp::{self, Cpu};

/// Shows the backtrace of a CPU, or of each that is online. Addresses are those in memory. The first line has the offset from
/// the ELF file's addresses, by which the launcher finds symbols.
///
/// # Errors
/// The CPU does not exist, is offline, or did not respond.
pub(crate) fn show(cpu: Option<CpuId>) -> Result<(), CommandError> {
    slide();
    match cpu {
        Some(cpu) => one(listed(cpu)?),
        None => {
            for cpu in smp::online() {
                if let Err(error) = one(cpu) {
                    super::error::report("backtrace", &error);
                }
            }
            Ok(())
        }
    }
}

/// Shows the offset of the addresses that follow.
pub(super) fn slide() {
    console::print(format_args!("addresses slid by {:#x}", boot::handoff().slide));
}

/// Shows the backtrace of a CPU.
///
/// # Errors
/// It is offline, or did not respond.
pub(super) fn one(cpu: &'static Cpu) -> Result<(), CommandError> {
    let id = cpu.id();
    if id == cpu::current() {
        console::print(format_args!("cpu {id} (this CPU):"));
        panic::backtrace(registers::frame_pointer()).for_each(caller);
        return Ok(());
    }
    if !cpu.is_online() {
        return Err(CommandError::NotOnline { cpu: id });
    }
    let remote = smp::backtrace_of(cpu).map_err(|error| CommandError::NoBacktrace { cpu: id, error })?;
    console::print(format_args!("cpu {id}:"));
    console::print(format_args!("  at {:#018x}", remote.rip));
    remote.frames().iter().copied().for_each(caller);
    Ok(())
}

/// Shows a frame.
pub(super) fn caller(return_address: u64) {
    console::print(format_args!("  by {return_address:#018x}"));
}
