//! The commands `stress` and `bench`.

use core::time::Duration;

use super::error::CommandError;
use super::state::Session;
use crate::bench::{self, Cost};
use crate::console;
use crate::cpu::registers::read_tsc;
use crate::stress;
use crate::stress::parameters::{StressParameters, WorkloadList};
use crate::stress::workloads::{Workload, defaults};

/// Runs a workload, or all but `replay`, and reports the result of the checks.
///
/// # Errors
/// The stress failed, now or before.
pub(crate) fn stress(
    session: &mut Session,
    workload: Option<&'static Workload>,
    ms: Option<u64>,
) -> Result<(), CommandError> {
    if session.found.is_some() {
        return Err(CommandError::StressFailedBefore);
    }
    let workloads = match workload {
        Some(workload) => WorkloadList::of([workload]),
        None => WorkloadList::of(defaults()),
    };
    let time = ms.map(Duration::from_millis).or(session.parameters.time);
    let parameters = StressParameters { workloads, time, ..*session.parameters };
    let seed = parameters.seed.unwrap_or_else(read_tsc);
    stress::run(&parameters, seed, None, |_| {}, session.give_up).map_err(|error| {
        session.found = Some(error);
        CommandError::Stress(error)
    })?;
    console::print(format_args!("stress: pass: nothing lost, nothing allocated twice"));
    Ok(())
}

/// Runs a benchmark, or all.
///
/// # Errors
/// See [`bench::run_now`].
pub(crate) fn bench(name: Option<&str>) -> Result<(), CommandError> {
    bench::run_now(name, &mut |name, cost| {
        let each = |total: u64, operations: u64| {
            let hundredths = (u128::from(total) * 100 / u128::from(operations.max(1))) as u64;
            (hundredths / 100, hundredths % 100)
        };
        match cost {
            Cost::Instructions(total, operations) => {
                let (whole, hundredths) = each(total, operations);
                console::print(format_args!("{name:<28} {whole:>8}.{hundredths:02} instructions"));
            }
            Cost::Cycles(total, operations) => {
                let (whole, hundredths) = each(total, operations);
                console::print(format_args!("{name:<28} {whole:>8}.{hundredths:02} cycles"));
            }
            Cost::Noise => console::print(format_args!("{name:<28} less than the noise")),
            Cost::TwoCpus => console::print(format_args!("{name:<28} needs two CPUs online")),
            Cost::CountedOnly => {
                console::print(format_args!(
                    "{name:<28} needs a TSC that counts instructions (`cargo run -- bench`)"
                ));
            }
        }
    })
    .map_err(CommandError::Bench)?;
    console::print(format_args!(
        "the minimum of several measurements; cycles are TSC cycles, and depend on machine and host"
    ));
    Ok(())
}
