//! How a cost is measured so that it is exact.
//!
//! Of each benchmark, `n` and `2n` repetitions are counted, and the difference is taken: what happens once, before and
//! after, drops out. From that the same difference of the empty repetition is subtracted. The whole is done several
//! times, and every time must give the same number: a timer interrupt, a batch that runs into a slow path now and then,
//! or an emulator that does not count would show. Where two CPUs take part, who gets how far by when differs by a few
//! instructions in a thousand calls: there the lowest number counts.

use core::arch::asm;

use super::{Benchmark, Failure};
use crate::cpu::registers::read_tsc;

/// How often everything is measured.
const MEASUREMENTS: u32 = 5;

/// What is added up while something runs.
#[derive(Default)]
pub struct Meter {
    total: u64,
}

impl Meter {
    /// Counts the instructions of `f`, and some of its own.
    #[inline(always)]
    pub fn count(&mut self, f: impl FnOnce()) {
        let begin = read_tsc();
        f();
        self.total += read_tsc().wrapping_sub(begin);
    }

    /// Adds what was counted elsewhere, as from here to a handler.
    pub fn add(&mut self, instructions: u64) {
        self.total += instructions;
    }
}

/// Repeats `body`, in a loop that the compiler neither unrolls nor sees through.
#[inline(always)]
pub fn repeat(repetitions: u32, mut body: impl FnMut()) {
    let mut left = repetitions;
    while left > 0 {
        body();
        left -= 1;
        // SAFETY: no instruction at all; it only makes the compiler forget what it knows of the value.
        unsafe { asm!("/* {0:e} */", inout(reg) left, options(nostack, preserves_flags)) };
    }
}

/// A value of which the compiler knows nothing any more. Costs no instruction.
#[inline(always)]
pub fn opaque(mut value: usize) -> usize {
    // SAFETY: no instruction at all; it only makes the compiler forget what it knows of the value.
    unsafe { asm!("/* {0} */", inout(reg) value, options(nostack, preserves_flags)) };
    value
}

/// One counted loop with nothing in it.
pub fn empty_loop(meter: &mut Meter, repetitions: u32) {
    meter.count(|| repeat(repetitions, || {}));
}

/// A counted nothing for each repetition.
pub fn empty_windows(meter: &mut Meter, repetitions: u32) {
    repeat(repetitions, || meter.count(|| {}));
}

/// Whether instructions are what the TSC counts: a loop whose length is known.
pub fn check() -> Result<(), Failure> {
    let count_of = |repetitions: u32| {
        let begin = read_tsc();
        // SAFETY: counts a register of its own down: two instructions a round.
        unsafe {
            asm!("2: dec {0:e}", "jnz 2b", inout(reg) repetitions => _, options(nomem, nostack));
        }
        read_tsc().wrapping_sub(begin)
    };
    let rounds = 10_000;
    let counted = count_of(2 * rounds).wrapping_sub(count_of(rounds));
    let executed = 2 * u64::from(rounds);
    if counted == executed { Ok(()) } else { Err(Failure::NotCounting { executed, counted }) }
}

/// The instructions of all repetitions of a benchmark together.
pub fn measure(benchmark: &Benchmark) -> Result<u64, Failure> {
    let Benchmark { name, repetitions, cpus, .. } = *benchmark;
    // Once for nothing: the state that repetitions leave behind is the one that later ones find.
    benchmark.take(repetitions);
    let first = benchmark.take(repetitions);
    let mut lowest = first;
    for _ in 1..MEASUREMENTS {
        let later = benchmark.take(repetitions);
        if later != first && cpus == 1 {
            return Err(Failure::Unsteady { name, first, later });
        }
        lowest = lowest.min(later);
    }
    if lowest > i64::MAX as u64 { Err(Failure::Negative { name }) } else { Ok(lowest) }
}

/// The least that all repetitions of a benchmark together took, in whatever the TSC counts. `None` where that is lost in
/// what else the TSC counted.
#[cfg(feature = "shell")]
pub fn lowest(benchmark: &Benchmark) -> Option<u64> {
    let all = (0..=MEASUREMENTS).map(|_| benchmark.take(benchmark.repetitions) as i64);
    all.skip(1).filter_map(|cycles| u64::try_from(cycles).ok()).min()
}

/// The deliberate fault `unsteady_cost`.
#[cfg(feature = "faults")]
pub mod faults {
    use core::sync::atomic::{AtomicU32, Ordering};

    static STEP: AtomicU32 = AtomicU32::new(0);
    static MORE: AtomicU32 = AtomicU32::new(0);

    /// From now on each measurement has a repetition more than the one before.
    pub fn begin() {
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
