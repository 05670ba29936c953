//! Benchmarks on demand, for the shell: in instructions where the TSC counts these, else in TSC cycles, which depend on the
//! machine, the emulator and the host as much as on the kernel.

use super::error::BenchError;
use super::frames::PartialBlocks;
use super::meter::{Benchmark, Count};
use super::{ALL, meter};
use crate::cpu::IrqGuard;
use crate::{memory, smp};

/// The result of a benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    /// The exact number of instructions, for a number of operations.
    Instructions(u64, u64),
    /// The lowest number of TSC cycles, for a number of operations.
    Cycles(u64, u64),
    /// Less than the noise of the measurement.
    Noise,
    /// The benchmark needs exactly two CPUs online.
    TwoCpus,
    /// The benchmark needs a TSC that counts instructions.
    CountedOnly,
}

/// Runs the benchmark of this name, or all, and reports each result.
///
/// **Context:** the thread of the BSP, interrupts on, while the APs are idle.
///
/// # Errors
/// Too little memory; or, where instructions are counted, two measurements differ.
pub(crate) fn run_now(
    name: Option<&str>,
    report: &mut dyn FnMut(&'static str, Cost),
) -> Result<(), BenchError> {
    let partial = PartialBlocks::hold().ok_or(BenchError::NoMemory)?;
    memory::drain_this_cpu(&IrqGuard::new());
    let wanted = |benchmark: &&Benchmark| name.map_or(benchmark.is_default, |name| name == benchmark.name);
    let measured = ALL.iter().filter(wanted).try_for_each(|benchmark| {
        report(benchmark.name, measure(benchmark)?);
        Ok(())
    });
    partial.release();
    memory::drain_this_cpu(&IrqGuard::new());
    measured
}

fn measure(benchmark: &Benchmark) -> Result<Cost, BenchError> {
    if benchmark.cpus > 1 && smp::online().count() != benchmark.cpus {
        return Ok(Cost::TwoCpus);
    }
    let result = |Count { instructions, operations }| (instructions, operations);
    if meter::check().is_ok() {
        return meter::measure(benchmark)
            .map(result)
            .map(|(total, operations)| Cost::Instructions(total, operations));
    }
    if benchmark.counted_only {
        return Ok(Cost::CountedOnly);
    }
    let lowest = meter::lowest(benchmark).map(result);
    Ok(lowest.map_or(Cost::Noise, |(total, operations)| Cost::Cycles(total, operations)))
}
