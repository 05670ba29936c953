//! What things cost on this machine, to whoever asks while it runs: in instructions where these are counted, else in
//! cycles of the TSC, which tell of the machine, its emulator and its host as much as of the kernel.

use super::{ALL, Benchmark, Failure, frames, meter};
use crate::cpu::IrqGuard;
use crate::{memory, smp};

/// What one benchmark came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Exactly so many instructions for so many operations.
    Instructions(u64, u64),
    /// At least so many cycles of the TSC for so many operations.
    Cycles(u64, u64),
    /// Less than what else the TSC counted meanwhile.
    Noise,
    /// It takes two CPUs online, no fewer and no more.
    TwoCpus,
    /// It can be measured only where instructions are counted.
    CountedOnly,
}

/// The benchmarks' names, in the order of the report.
pub const NAMES: &[&str] = &{
    let mut names = [""; ALL.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = ALL[index].name;
        index += 1;
    }
    names
};

/// Measures the benchmark of that name, or each, and tells what it came to. Only the boot processor calls this, with
/// interrupts on, while the others have nothing to do.
///
/// # Errors
/// No memory; where instructions are counted, a figure that is not the same each time.
pub fn look(name: Option<&str>, tell: &mut dyn FnMut(&'static str, Cost)) -> Result<(), Failure> {
    let loose = frames::Loose::hold().ok_or(Failure::NoMemory)?;
    memory::drain_this_cpu(&IrqGuard::new());
    let wanted = |benchmark: &&Benchmark| name.is_none_or(|name| name == benchmark.name);
    let measured = ALL.iter().filter(wanted).try_for_each(|benchmark| {
        tell(benchmark.name, measure(benchmark)?);
        Ok(())
    });
    loose.release();
    memory::drain_this_cpu(&IrqGuard::new());
    measured
}

fn measure(benchmark: &Benchmark) -> Result<Cost, Failure> {
    if benchmark.cpus > 1 && smp::online().count() != benchmark.cpus {
        return Ok(Cost::TwoCpus);
    }
    let operations = u64::from(benchmark.operations) * u64::from(benchmark.repetitions);
    if meter::check().is_ok() {
        return meter::measure(benchmark).map(|total| Cost::Instructions(total, operations));
    }
    if benchmark.counted_only {
        return Ok(Cost::CountedOnly);
    }
    Ok(meter::lowest(benchmark).map_or(Cost::Noise, |total| Cost::Cycles(total, operations)))
}
