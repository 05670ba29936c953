//! Exact measurement of costs.
//!
//! Each benchmark is counted for `n` and for `2n` repetitions, and the difference is taken: one-time costs cancel out. The same
//! difference of an empty repetition is subtracted. The whole is measured several times, and each must give the same number. So
//! a timer interrupt, a batch that sometimes takes a slow path, or an emulator that does not count is detected. If two CPUs
//! take part, their interleaving differs by a few instructions in a thousand calls; then the lowest number counts.

use core::arch::asm;

use super::error::BenchError;
use crate::cpu::registers::read_tsc;

/// The number of measurements of each benchmark.
const MEASUREMENTS: u32 = 5;

/// The sum of the counted instructions.
#[derive(Default)]
pub(crate) struct Meter {
    total: u64,
}

impl Meter {
    /// Counts the instructions of `f`, plus a constant.
    #[inline(always)]
    pub(crate) fn count(&mut self, f: impl FnOnce()) {
        let begin = read_tsc();
        f();
        self.total += read_tsc().wrapping_sub(begin);
    }

    /// Adds instructions that were counted elsewhere, as from here to a handler.
    pub(crate) fn add(&mut self, instructions: u64) {
        self.total += instructions;
    }
}

/// An operation whose cost is measured.
pub(super) struct Benchmark {
    /// Its name in reports and in `config/bench.toml`.
    pub name: &'static str,
    /// Repeats the operation that many times, inside `Meter::count`.
    pub run: fn(&mut Meter, u32),
    /// The same without the operation: the cost of the repetition, which is subtracted.
    pub empty: fn(&mut Meter, u32),
    /// Repetitions in one measurement.
    pub repetitions: u32,
    /// Operations in one repetition: the pages of a bulk, or 1.
    pub operations: u32,
    /// The number of CPUs that it needs.
    pub cpus: usize,
    /// Whether it can run only where instructions are counted, as no time but its own may pass.
    #[cfg_attr(not(feature = "shell"), expect(dead_code, reason = "only the shell measures in cycles"))]
    pub counted_only: bool,
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

/// Measures the instructions of all repetitions of a benchmark together.
///
/// # Errors
/// Two measurements differ, or the result is negative.
pub(crate) fn measure(benchmark: &Benchmark) -> Result<u64, BenchError> {
    let Benchmark { name, repetitions, cpus, .. } = *benchmark;
    // Not counted: it leaves the state that later repetitions find.
    benchmark.take(repetitions);
    let first = benchmark.take(repetitions);
    let mut lowest = first;
    for _ in 1..MEASUREMENTS {
        let later = benchmark.take(repetitions);
        if later != first && cpus == 1 {
            return Err(BenchError::Unsteady { name, first, later });
        }
        lowest = lowest.min(later);
    }
    if lowest > i64::MAX as u64 { Err(BenchError::Negative { name }) } else { Ok(lowest) }
}

/// The lowest TSC difference of all repetitions of a benchmark together. `None` if it is less than the noise.
#[cfg(feature = "shell")]
pub(crate) fn lowest(benchmark: &Benchmark) -> Option<u64> {
    let all = (0..=MEASUREMENTS).map(|_| benchmark.take(benchmark.repetitions) as i64);
    all.skip(1).filter_map(|cycles| u64::try_from(cycles).ok()).min()
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
    fn take(&self, repetitions: u32) -> u64 {
        #[cfg(feature = "faults")]
        let repetitions = repetitions + faults::more();
        let slope = |run: fn(&mut Meter, u32)| {
            let counted = |repetitions| {
                let mut meter = Meter::default();
                run(&mut meter, repetitions);
                meter.total
            };
            counted(2 * repetitions).wrapping_sub(counted(repetitions))
        };
        slope(self.run).wrapping_sub(slope(self.empty))
    }
}
