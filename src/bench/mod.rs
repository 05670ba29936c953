//! Layer 9: exact costs of operations, in instructions.
//!
//! Under QEMU's TCG with `-icount shift=0` the TSC advances by one for each instruction, on every host alike. So costs can be
//! compared, and a test can enforce a limit. `work=bench` measures each `Benchmark` of `ALL` and sends one record for it; the
//! launcher compares it with `config/bench.toml`. `meter` measures, and detects inexact figures.
//!
//! To add a benchmark, write a function that repeats the operation inside `Meter::count`, and add a line to `ALL` and its limit
//! to `config/bench.toml`.

mod error;
mod frames;
mod interrupts;
mod meter;
#[cfg(feature = "shell")]
mod on_demand;
mod primitives;

use crate::console;
use crate::cpu::IrqGuard;
use crate::memory;
use crate::smp;
use crate::wire::{self, Record};

pub(crate) use error::BenchError;
#[cfg(feature = "faults")]
pub(crate) use meter::faults::begin as become_unsteady;
use meter::{Benchmark, Meter, empty_loop, empty_windows};
#[cfg(feature = "shell")]
pub(crate) use on_demand::{Cost, NAMES, run_now};

/// An operation that is repeated in one counted loop.
const fn each(name: &'static str, run: fn(&mut Meter, u32)) -> Benchmark {
    Benchmark { name, run, empty: empty_loop, repetitions: 1000, operations: 1, cpus: 1, counted_only: false }
}

/// A repetition that handles many pages; the cost of one page is reported.
const fn per_page(name: &'static str, run: fn(&mut Meter, u32), empty: fn(&mut Meter, u32)) -> Benchmark {
    let operations = frames::BULK as u32;
    Benchmark { name, run, empty, repetitions: 16, operations, cpus: 1, counted_only: false }
}

/// All benchmarks, in the order of the report.
const ALL: &[Benchmark] = &[
    each("per_cpu_add", primitives::per_cpu_add),
    each("spin_irqsave_pair", primitives::spin_irqsave_pair),
    each("clock_now", primitives::clock_now),
    each("trace_off", primitives::trace_off),
    each("trace_on", primitives::trace_on),
    each("irq_entry_exit", interrupts::entry_exit),
    Benchmark { empty: empty_windows, ..each("self_ipi", interrupts::self_ipi) },
    Benchmark { empty: empty_windows, counted_only: true, ..each("timer_expiry", interrupts::timer_expiry) },
    Benchmark { cpus: 2, ..each("call_round_trip", interrupts::call_round_trip) },
    each("frame_pair_order0", frames::pair::<0>),
    each("owned_frame_pair", frames::owned_pair),
    each("frame_pair_order1", frames::pair::<1>),
    each("frame_pair_order2", frames::pair::<2>),
    each("frame_pair_order3", frames::pair::<3>),
    each("frame_pair_order4", frames::pair::<4>),
    each("frame_pair_order5", frames::pair::<5>),
    each("frame_pair_order6", frames::pair::<6>),
    each("frame_pair_order7", frames::pair::<7>),
    each("frame_pair_order8", frames::pair::<8>),
    each("frame_pair_order9", frames::pair::<9>),
    each("frame_pair_order10", frames::pair::<10>),
    each("frame_pair_order11", frames::pair::<11>),
    each("frame_pair_order12", frames::pair::<12>),
    per_page("frame_bulk512_per_page", frames::bulk, empty_loop),
    per_page("frame_bulk512_free_per_page", frames::bulk_free, empty_windows),
    per_page("frame_bulk_call_per_page", frames::bulk_call, empty_loop),
];

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
fn report(name: &'static str, instructions: u64, operations: u64) -> u64 {
    log::info!("{name}: {instructions} instructions for {operations}");
    console::take_longest_hold();
    let total = instructions;
    console::send(&Record::Bench(wire::Bench { name, unit: "instructions", total, operations }));
    console::take_longest_hold()
}

/// Runs all benchmarks and sends a record for each. Calls `begin` with the number of free frames before. Benchmarks for two
/// CPUs are skipped on a machine with one.
///
/// **Context:** the thread of the BSP, interrupts on, while it is the only CPU or the AP is idle.
///
/// # Errors
/// The TSC does not count instructions, or two measurements differ.
#[inline(never)]
pub(crate) fn run(begin: fn(u64)) -> Result<(), BenchError> {
    let partial = frames::PartialBlocks::hold().ok_or(BenchError::NoMemory)?;
    memory::drain_this_cpu(&IrqGuard::new());
    begin(memory::frames().free_frames() as u64 + partial.count() as u64);
    meter::check()?;
    let cpus = smp::online().count();
    let mut longest = 0;
    for benchmark in ALL.iter().filter(|benchmark| benchmark.cpus <= cpus) {
        let Benchmark { name, operations, repetitions, .. } = *benchmark;
        let instructions = meter::measure(benchmark)?;
        let held = report(name, instructions, u64::from(operations) * u64::from(repetitions));
        longest = longest.max(held);
    }
    report("record_irqs_off", longest, 1);
    report("log_line_irqs_off", held_by_lines(), 1);
    partial.release();
    memory::drain_this_cpu(&IrqGuard::new());
    Ok(())
}
