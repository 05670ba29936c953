//! Exact measurement of costs.
//!
//! Each benchmark is counted for `n` and for `2n` repetitions, and the difference is taken: one-time costs cancel out. The same
//! difference of an empty repetition is subtracted. The whole is measured several times, and each must give the same number. So
//! a timer interrupt, a batch that sometimes takes a slow path, or an emulator that does not count is detected. If two CPUs
//! take part, their interleaving differs by a few instructions in a thousand calls, and so do the decisions of a scheduling policy,
//! which depend on the time; then the lowest number counts.

use core::arch::asm;

use super::error::BenchError;
use crate::cpu::registers::read_tsc;

/// The number of measurements of each benchmark.
const MEASUREMENTS: u32 = 5;

/// The sum of the counted instructions.
#[derive(Default)]
pub struct Meter {
    total: u64,
    /// How many operations these were, if each repetition may have another number of them.
    operations: u64,
}

impl Meter {
    /// Counts the instructions of `f`, plus a constant.
    #[inline(always)]
    pub(crate) fn count(&mut self, f: impl FnOnce()) {
        let begin = read_tsc();
        f();
        self.total += read_tsc().wrapping_sub(begin);
    }

    /// Counts the instructions of `f`, which are `operations` operations, plus those of two reads of the TSC.
    #[inline(always)]
    pub(crate) fn count_many(&mut self, operations: u64, f: impl FnOnce()) {
        self.operations += operations;
        self.count(f);
    }

    /// Sets the number of operations.
    pub(crate) fn set_operations(&mut self, operations: u64) {
        self.operations = operations;
    }

    /// Adds instructions that were counted elsewhere, as from here to a handler.
    pub(crate) fn add(&mut self, instructions: u64) {
        self.total += instructions;
    }
}

/// An operation whose cost is measured.
pub struct Benchmark {
    /// Its name in reports and in `config/bench.toml`.
    pub(super) name: &'static str,
    /// What is counted.
    pub(super) unit: &'static str,
    /// Makes what stays when the benchmark has ended, before the free frames are counted.
    pub(super) prepare: fn(),
    /// Repeats the operation that many times, inside `Meter::count`.
    pub(super) run: fn(&mut Meter, u32),
    /// The same without the operation: the cost of the repetition, which is subtracted.
    pub(super) empty: fn(&mut Meter, u32),
    /// Repetitions in one measurement.
    pub(super) repetitions: u32,
    /// Operations in one repetition: the pages of a bulk, or 1. [`Meter::count_many`] overrides it.
    pub(super) operations: u32,
    /// The number of measurements that must agree.
    pub(super) measurements: u32,
    /// Whether one call is a measurement, instead of the difference of two: it counts nothing but the operations.
    pub(super) counts_itself: bool,
    /// Whether it runs if the command line names no benchmark.
    pub(super) is_default: bool,
    /// The number of CPUs that it needs.
    pub(super) cpus: usize,
    /// Whether a scheduling policy decides between threads that are ready.
    pub(super) is_scheduled: bool,
    /// Whether it can run only where instructions are counted, as no time but its own may pass.
    #[cfg_attr(not(feature = "shell"), expect(dead_code, reason = "only the shell measures in cycles"))]
    pub(super) counted_only: bool,
}

impl Benchmark {
    /// An operation that is repeated in one counted loop.
    pub(super) const fn each(run: fn(&mut Meter, u32)) -> Self {
        Self {
            name: "",
            unit: "instructions",
            prepare: || {},
            run,
            empty: empty_loop,
            repetitions: 1000,
            operations: 1,
            measurements: MEASUREMENTS,
            counts_itself: false,
            is_default: true,
            cpus: 1,
            is_scheduled: false,
            counted_only: false,
        }
    }

    /// An operation that wakes a thread of the same CPU.
    pub(super) const fn of_threads(run: fn(&mut Meter, u32)) -> Self {
        Self { is_scheduled: true, ..Self::each(run) }
    }

    /// A benchmark of the program's own: an operation that is repeated in one counted loop.
    pub const fn registered(name: &'static str, run: fn(&mut Meter, u32)) -> Self {
        Self { name, ..Self::each(run) }
    }

    /// A repetition that handles many pages; the cost of one page is reported.
    pub(super) const fn per_page(pages: usize, run: fn(&mut Meter, u32), empty: fn(&mut Meter, u32)) -> Self {
        Self { empty, repetitions: 16, operations: pages as u32, ..Self::each(run) }
    }

    /// A repetition that allocates most of the machine's memory.
    pub(super) const fn of_memory(run: fn(&mut Meter, u32)) -> Self {
        Self { repetitions: 1, measurements: 2, counts_itself: true, is_default: false, ..Self::each(run) }
    }

    /// An operation beside seven busy CPUs, which counts by itself.
    pub(super) const fn of_eight_cpus(run: fn(&mut Meter, u32)) -> Self {
        Self { measurements: 2, counts_itself: true, is_default: false, cpus: 8, ..Self::each(run) }
    }

    /// An operation of this CPU that concerns the other one, counted by itself.
    pub(super) const fn of_two_cpus(run: fn(&mut Meter, u32)) -> Self {
        Self { empty: empty_windows, repetitions: 100, cpus: 2, ..Self::each(run) }
    }
}

/// Repeats `body`, in a loop that the compiler does not unroll or optimise.
#[inline(always)]
pub(crate) fn repeat(repetitions: u32, mut body: impl FnMut()) {
    let mut left = repetitions;
    while left > 0 {
        body();
        left -= 1;
        // SAFETY: the assembly must have no effect. It is empty; it hides the value from the compiler.
        unsafe { asm!("/* {0:e} */", inout(reg) left, options(nostack, preserves_flags)) };
    }
}

/// Hides a value from the compiler. Costs no instruction.
#[inline(always)]
pub(crate) fn opaque(mut value: usize) -> usize {
    // SAFETY: the assembly must have no effect. It is empty.
    unsafe { asm!("/* {0} */", inout(reg) value, options(nostack, preserves_flags)) };
    value
}

/// One counted, empty loop.
pub(crate) fn empty_loop(meter: &mut Meter, repetitions: u32) {
    meter.count(|| repeat(repetitions, || {}));
}

/// A counted, empty body for each repetition.
pub(crate) fn empty_windows(meter: &mut Meter, repetitions: u32) {
    repeat(repetitions, || meter.count(|| {}));
}

/// Checks that the TSC counts instructions, by a loop of known length.
///
/// # Errors
/// It does not.
pub(crate) fn check() -> Result<(), BenchError> {
    let count_of = |repetitions: u32| {
        let begin = read_tsc();
        // SAFETY: the assembly must change its operand only. It counts it down, with two instructions for each round.
        unsafe {
            asm!("2: dec {0:e}", "jnz 2b", inout(reg) repetitions => _, options(nomem, nostack));
        }
        read_tsc().wrapping_sub(begin)
    };
    let rounds = 10_000;
    let counted = count_of(2 * rounds).wrapping_sub(count_of(rounds));
    let executed = 2 * u64::from(rounds);
    if counted == executed { Ok(()) } else { Err(BenchError::NotCounting { executed, counted }) }
}

/// The instructions of a number of operations.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub instructions: u64,
    pub operations: u64,
}

/// Measures the instructions of all repetitions of a benchmark together.
///
/// # Errors
/// Two measurements differ, or the result is negative.
pub(super) fn measure(benchmark: &Benchmark) -> Result<Count, BenchError> {
    let Benchmark { name, repetitions, measurements, cpus, is_scheduled, .. } = *benchmark;
    // Not counted: it leaves the state that later repetitions find.
    benchmark.take(repetitions);
    let first = benchmark.take(repetitions);
    let mut lowest = first;
    for _ in 1..measurements {
        let later = benchmark.take(repetitions);
        if later != first && cpus == 1 && !is_scheduled {
            let (first, later) = (first.instructions, later.instructions);
            return Err(BenchError::Unsteady { name, first, later });
        }
        if later.instructions < lowest.instructions {
            lowest = later;
        }
    }
    if lowest.instructions > i64::MAX as u64 { Err(BenchError::Negative { name }) } else { Ok(lowest) }
}

/// The lowest TSC difference of all repetitions of a benchmark together. `None` if it is less than the noise.
#[cfg(feature = "shell")]
pub(super) fn lowest(benchmark: &Benchmark) -> Option<Count> {
    let all = (0..=benchmark.measurements).map(|_| benchmark.take(benchmark.repetitions));
    all.skip(1).filter(|count| count.instructions <= i64::MAX as u64).min_by_key(|count| count.instructions)
}

/// Fault injection: `unsteady_cost`.
#[cfg(feature = "faults")]
pub(crate) mod faults {
    use core::sync::atomic::{AtomicU32, Ordering};

    static STEP: AtomicU32 = AtomicU32::new(0);
    static MORE: AtomicU32 = AtomicU32::new(0);

    /// From now on each measurement has one repetition more than the previous one.
    pub(crate) fn begin() {
        STEP.store(1, Ordering::Relaxed);
    }

    pub(super) fn more() -> u32 {
        MORE.fetch_add(STEP.load(Ordering::Relaxed), Ordering::Relaxed)
    }
}

impl Benchmark {
    /// One measurement.
    fn take(&self, repetitions: u32) -> Count {
        #[cfg(feature = "faults")]
        let repetitions = repetitions + faults::more();
        let counted = |run: fn(&mut Meter, u32), repetitions| {
            let mut meter = Meter::default();
            run(&mut meter, repetitions);
            meter
        };
        if self.counts_itself {
            let Meter { total, operations } = counted(self.run, repetitions);
            return Count { instructions: total, operations };
        }
        let slope = |run| {
            let (twice, once) = (counted(run, 2 * repetitions), counted(run, repetitions));
            (twice.total.wrapping_sub(once.total), twice.operations.wrapping_sub(once.operations))
        };
        let ((with, counted), (without, _)) = (slope(self.run), slope(self.empty));
        let operations =
            if counted > 0 { counted } else { u64::from(self.repetitions) * u64::from(self.operations) };
        Count { instructions: with.wrapping_sub(without), operations }
    }
}
