//! The run of the benchmarks: `work=bench`.

use super::error::BenchError;
use super::frames::PartialBlocks;
use super::meter::{Benchmark, Count};
use super::parameters::BenchParameters;
use super::{ALL, BENCHES, meter};
use crate::boot::command_line::Named;
use crate::console;
use crate::cpu::IrqGuard;
use crate::memory;
use crate::smp;
use crate::wire::{self, Record};

/// The longest time that a logging CPU holds the console with interrupts off, in instructions.
fn held_by_lines() -> u64 {
    // More lines than a screen has rows, so that it scrolls.
    const LINES: usize = 30;
    console::take_longest_hold();
    for line in 0..LINES {
        log::info!(
            "line {line} of {LINES}, as long as most are, for the time that interrupts are off meanwhile"
        );
    }
    console::take_longest_hold()
}

/// Logs a figure and sends its record. Returns the longest time that the record held the console.
fn report(name: &'static str, unit: &'static str, count: Count) -> u64 {
    let Count { instructions: total, operations } = count;
    log::info!("{name}: {total} {unit} for {operations}");
    console::take_longest_hold();
    console::send(&Record::Bench(wire::Bench { name, unit, total, operations }));
    console::take_longest_hold()
}

/// Runs the benchmarks of the command line, or the default ones, and sends a record for each. Calls `begin` with the number of free
/// frames before. Benchmarks for two CPUs are skipped on a machine with one.
///
/// **Context:** the thread of the BSP, interrupts on, while it is the only CPU or the AP is idle.
///
/// # Errors
/// The TSC does not count instructions, or two measurements differ.
#[inline(never)]
pub(crate) fn run(parameters: &BenchParameters, begin: fn(u64)) -> Result<(), BenchError> {
    let cpus = smp::online().count();
    let is_default = parameters.only.is_empty();
    let is_named = |benchmark: &Benchmark| parameters.only.iter().any(|only| only.name() == benchmark.name);
    let is_wanted = |benchmark: &&Benchmark| {
        benchmark.cpus <= cpus && (is_named(benchmark) || is_default && benchmark.is_default)
    };
    let wanted = || ALL.iter().chain(BENCHES.iter()).filter(is_wanted);
    wanted().for_each(|benchmark| (benchmark.prepare)());
    let partial = PartialBlocks::hold().ok_or(BenchError::NoMemory)?;
    memory::drain_this_cpu(&IrqGuard::new());
    begin(memory::frames().free_frames() as u64 + partial.count() as u64);
    meter::check()?;
    let mut longest = 0;
    for benchmark in wanted() {
        let held = report(benchmark.name, benchmark.unit, meter::measure(benchmark)?);
        longest = longest.max(held);
    }
    if is_default {
        let once = |instructions| Count { instructions, operations: 1 };
        report("record_irqs_off", "instructions", once(longest));
        report("log_line_irqs_off", "instructions", once(held_by_lines()));
    }
    partial.release();
    memory::drain_this_cpu(&IrqGuard::new());
    Ok(())
}
