//! Layer 10: what things cost, in instructions, exactly.
//!
//! QEMU's TCG under `-icount shift=0` lets the TSC advance by one for each instruction, on every host alike, so that a
//! cost is a number that can be compared, and a limit one that a test can hold. `work=bench` measures each `Benchmark`
//! of `ALL` and sends one record for it; the launcher compares with `config/bench.toml`. `meter` is how it is
//! measured, and what is done so that a figure cannot be wrong without notice.
//!
//! To add one: a function that repeats the operation inside `Meter::count`, a line in `ALL`, its limit in
//! `config/bench.toml`.

mod frames;
mod interrupts;
#[cfg(feature = "shell")]
mod look;
mod meter;
mod primitives;

use core::fmt;

use crate::console;
use crate::cpu::IrqGuard;
use crate::memory;
use crate::smp;
use crate::wire::{self, Record};

#[cfg(feature = "shell")]
pub use look::{Cost, NAMES, look};
#[cfg(feature = "faults")]
pub use meter::faults::begin as become_unsteady;
use meter::{Meter, empty_loop, empty_windows};

/// One thing whose cost is of interest.
struct Benchmark {
    /// Its name in reports and in `config/bench.toml`.
    name: &'static str,
    /// Repeats it so many times, the counted part of it in `Meter::count`.
    run: fn(&mut Meter, u32),
    /// The same without it: the repetition's own cost, which is taken off.
    empty: fn(&mut Meter, u32),
    /// How often it is repeated in one measurement.
    repetitions: u32,
    /// What one repetition is divided by: the pages of a bulk, or 1.
    operations: u32,
    /// How many CPUs it takes.
    cpus: usize,
    /// Whether it counts on no time going by but its own, as where instructions are counted.
    #[cfg_attr(not(feature = "shell"), expect(dead_code, reason = "the console alone measures in cycles"))]
    counted_only: bool,
}

/// An operation that is repeated in one counted loop.
const fn each(name: &'static str, run: fn(&mut Meter, u32)) -> Benchmark {
    Benchmark { name, run, empty: empty_loop, repetitions: 1000, operations: 1, cpus: 1, counted_only: false }
}

/// A repetition that handles many pages, of which the cost for one is wanted.
const fn per_page(name: &'static str, run: fn(&mut Meter, u32), empty: fn(&mut Meter, u32)) -> Benchmark {
    let operations = frames::BULK as u32;
    Benchmark { name, run, empty, repetitions: 16, operations, cpus: 1, counted_only: false }
}

/// All of them, in the order of the report.
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
    each("frame_pair_order3", frames::pair::<3>),
    each("frame_pair_order9", frames::pair::<9>),
    per_page("frame_bulk512_per_page", frames::bulk, empty_loop),
    per_page("frame_bulk512_free_per_page", frames::bulk_free, empty_windows),
    per_page("frame_bulk_call_per_page", frames::bulk_call, empty_loop),
];

/// Why there are no figures, or no exact ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The TSC does not advance by one for each instruction.
    NotCounting {
        /// Instructions that were executed.
        executed: u64,
        /// By how much the TSC advanced.
        counted: u64,
    },
    /// Two measurements of the same thing differ.
    Unsteady {
        /// Which benchmark.
        name: &'static str,
        /// Instructions in the first measurement.
        first: u64,
        /// Instructions in a later one.
        later: u64,
    },
    /// There is not a whole block of frames, or there are too many parts of blocks.
    NoMemory,
    /// The repetition costs less with the operation than without.
    Negative {
        /// Which benchmark.
        name: &'static str,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NotCounting { executed, counted } => write!(
                f,
                "the TSC advanced by {counted} over {executed} instructions: the bench needs -icount shift=0"
            ),
            Failure::Unsteady { name, first, later } => {
                write!(f, "{name}: {first} instructions in one measurement, {later} in another")
            }
            Failure::NoMemory => f.write_str("too little memory, or too much in pieces, for the bench"),
            Failure::Negative { name } => write!(f, "{name}: cheaper than nothing"),
        }
    }
}

/// The longest time that a CPU which logs has the console, and its interrupts off, at once.
fn held_by_lines() -> u64 {
    // More than a screen has rows, so that it scrolls.
    const LINES: usize = 30;
    console::take_longest_hold();
    for line in 0..LINES {
        log::info!(
            "line {line} of {LINES}, as long as most are, for the time that interrupts are off meanwhile"
        );
    }
    console::take_longest_hold()
}

/// Logs a figure and sends its record; returns the longest time that the record had the console.
fn report(name: &'static str, instructions: u64, operations: u64) -> u64 {
    log::info!("{name}: {instructions} instructions for {operations}");
    console::take_longest_hold();
    let total = instructions;
    console::send(&Record::Bench(wire::Bench { name, unit: "instructions", total, operations }));
    console::take_longest_hold()
}

/// Measures everything and sends a record for each. `begin` is told how many frames are free before. Only the boot
/// processor calls this, with interrupts on, while it is the only CPU or the other one is halted; what takes two CPUs is
/// left out where there is one.
///
/// # Errors
/// If instructions are not what the TSC counts, or a figure is not the same each time.
#[inline(never)]
pub fn run(begin: fn(u64)) -> Result<(), Failure> {
    let loose = frames::Loose::hold().ok_or(Failure::NoMemory)?;
    memory::drain_this_cpu(&IrqGuard::new());
    begin(memory::frames().free_frames() as u64 + loose.count() as u64);
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
    loose.release();
    memory::drain_this_cpu(&IrqGuard::new());
    Ok(())
}
