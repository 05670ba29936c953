//! The cost of frames on the host, relative to another operation on the same host: `cargo bench -p octopod`.
//!
//! A time depends on the machine more than on the code, so the limits apply to ratios, each within one run. The two operations
//! alternate in turns of some tens of microseconds, so that noise affects both. The median of the turns' ratios counts, or the
//! ratio of the least times, which a load of the machine changes least. Criterion chooses the number of turns and shows the times. The limits are `[ratios]` in `config/bench.toml`; if one is exceeded, the
//! exit status is 1.
//!
//! Run it in release mode on a machine with two idle processors.

mod large;
mod ratios;
mod singles;
mod threads;

use std::process::ExitCode;
use std::time::Duration;

use criterion::Criterion;
use ratios::Ratios;

fn main() -> ExitCode {
    let mut ratios = match Ratios::read() {
        Ok(ratios) => ratios,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
        .configure_from_args();
    singles::order_0(&mut criterion, &mut ratios);
    singles::order_9(&mut criterion, &mut ratios);
    threads::bulk(&mut criterion, &mut ratios);
    threads::remote(&mut criterion, &mut ratios);
    large::random_frees(&mut criterion, &mut ratios);
    large::two_threads(&mut criterion, &mut ratios);
    criterion.final_summary();
    ratios.verdict()
}
