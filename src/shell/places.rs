//! `backtrace`.

use super::answer::{CommandError, listed};
use crate::boot;
use crate::console;
use crate::cpu::{self, CpuId, registers};
use crate::panic;
use crate::smp::{self, Cpu};

/// Where a CPU is, or each that is online. Addresses are as they are in memory, and what to subtract for the
/// ELF file is said; the launcher puts names behind them.
pub fn show(cpu: Option<CpuId>) -> Result<(), CommandError> {
    console::print(format_args!("addresses slid by {:#x}", boot::handoff().slide));
    match cpu {
        Some(cpu) => one(listed(cpu)?),
        None => {
            for cpu in smp::online() {
                if let Err(error) = one(cpu) {
                    super::answer::refuse("backtrace", &error);
                }
            }
            Ok(())
        }
    }
}

fn one(cpu: &'static Cpu) -> Result<(), CommandError> {
    let id = cpu.id();
    if id == cpu::current() {
        console::print(format_args!("cpu {id} asks:"));
        panic::backtrace(registers::frame_pointer()).for_each(caller);
        return Ok(());
    }
    if !cpu.is_online() {
        return Err(CommandError::NotOnline { cpu: id });
    }
    let place = smp::backtrace_of(cpu).map_err(|error| CommandError::BacktraceError { cpu: id, error })?;
    console::print(format_args!("cpu {id}:"));
    console::print(format_args!("  at {:#018x}", place.rip));
    place.frames().iter().copied().for_each(caller);
    Ok(())
}

fn caller(return_address: u64) {
    console::print(format_args!("  by {return_address:#018x}"));
}
