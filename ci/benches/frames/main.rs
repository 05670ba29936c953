//! What frames cost on the host, next to something else on the same host: `cargo bench -p octopod`.
//!
//! A time says more about the machine than about the code, so what is held to a limit are ratios, each within one run:
//! what is compared takes turns of some tens of microseconds, so that noise hits both alike, and the median of the turns
//! counts. Criterion chooses how many turns there are and shows the times. The limits are `[ratios]` in
//! `config/bench.toml`; if one is exceeded, the status is 1.
//!
//! Run it in release mode on a machine that has two processors to spare.

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
    criterion.final_summary();
    ratios.verdict()
}
