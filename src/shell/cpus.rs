//! The commands `cpus`, `call`, `offline` and `online`.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use super::error::{CommandError, listed};
use crate::console;
use crate::cpu::{CpuId, CpuSet};
use crate::interrupts;
use crate::smp::hotplug::{self, Affinity, HotplugState};
use crate::smp::{self, Cpu};
use crate::time;

/// Shows a line for each CPU.
pub(crate) fn list() {
    console::print(format_args!(
        "{:>4} {:>7} {:>4} {:<24} {:>10} {:>10}",
        "cpu", "apic id", "node", "state", "interrupts", "calls"
    ));
    for cpu in smp::cpus() {
        // SAFETY: the base must be that of a per-CPU area that stays mapped. Areas are never freed.
        let calls = cpu.gs_base().map_or(0, |gs_base| unsafe { smp::answered(gs_base) }.0);
        console::print(format_args!(
            "{:>4} {:>7} {:>4} {:<24} {:>10} {calls:>10}",
            cpu.id().0,
            cpu.entry.apic_id.0,
            cpu.entry.node.0,
            State(cpu),
            interrupts_of(cpu)
        ));
    }
}

fn interrupts_of(cpu: &Cpu) -> u64 {
    let counts = cpu.get(interrupts::COUNTS);
    counts.map_or(0, |counts| counts.iter().map(|count| count.load(Ordering::Relaxed)).sum())
}

/// Displays the state of a CPU.
struct State<'a>(&'a Cpu);

impl fmt::Display for State<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = self.0;
        match cpu.hotplug_state() {
            HotplugState::Refused => f.pad("online"),
            HotplugState::NotStarted if !cpu.is_reachable() => f.pad("unreachable"),
            HotplugState::NotStarted if !cpu.has_area() => f.pad("not started"),
            HotplugState::NotStarted => f.pad("did not start"),
            state => f.pad(state.name()),
        }
    }
}

/// Calls a CPU, which may be this one.
///
/// # Errors
/// The CPU does not exist, or the call failed.
pub(crate) fn call(cpu: CpuId) -> Result<(), CommandError> {
    listed(cpu)?;
    let ran_at = AtomicU64::new(0);
    let began = time::now_ns();
    smp::call(&CpuSet::of(cpu), &|| ran_at.store(time::now_ns(), Ordering::Relaxed))
        .map_err(CommandError::Call)?;
    let ended = time::now_ns();
    let there = ran_at.into_inner().saturating_sub(began);
    console::print(format_args!(
        "cpu {cpu} ran the call after {there} ns; answered after {} ns",
        ended - began
    ));
    Ok(())
}

/// Takes a CPU offline.
///
/// # Errors
/// The CPU did not go offline.
pub(crate) fn offline(cpu: CpuId, breaks_affinity: bool) -> Result<(), CommandError> {
    let began_us = time::now_us();
    let affinity = if breaks_affinity { Affinity::Break } else { Affinity::Keep };
    hotplug::offline_with(cpu, affinity).map_err(CommandError::Offline)?;
    console::print(format_args!("cpu {cpu} is offline, after {} us", time::now_us() - began_us));
    Ok(())
}

/// Brings a CPU back online.
///
/// # Errors
/// The CPU did not come online.
pub(crate) fn online(cpu: CpuId) -> Result<(), CommandError> {
    let began_us = time::now_us();
    hotplug::online(cpu).map_err(CommandError::Online)?;
    console::print(format_args!("cpu {cpu} is online, after {} us", time::now_us() - began_us));
    Ok(())
}
