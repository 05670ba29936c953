//! A boot's time does not grow with memory: 256 GiB, of which hardly any is ever touched, take at most three times what
//! 1 GiB takes. Measured in one run, from QEMU's start to its end, the best of a few.

use clap::Parser;
use octopod_ci::notice::Silent;
use octopod_ci::rundir::Workspace;
use octopod_ci::{Options, kernel_build, launch, setup};

/// A host that has other things to do makes single runs slow.
const RUNS: usize = 5;

/// The best wall time, in milliseconds.
fn best_ms(mem: &str, kernel: &std::path::Path) -> u64 {
    let backend = format!("memory-backend-ram,id=ram,size={mem},reserve=off");
    let qemu = ["--", "-object", &backend, "-M", "memory-backend=ram"];
    let boot = ["octopod", "boot", "--accel", "tcg", "--smp", "2", "--mem", mem];
    let mut options = Options::parse_from(boot.into_iter().chain(qemu));
    options.kernel = Some(kernel.to_owned());
    let times = (0..RUNS).map(|_| {
        let outcome = launch(&options);
        assert_eq!(outcome.status, 0, "{mem}: {:?}\n{}", outcome.report.reason, outcome.serial.join("\n"));
        outcome.report.host.as_ref().map_or(u64::MAX, |host| host.wall_ms)
    });
    times.min().unwrap_or(u64::MAX)
}

#[test]
fn the_time_to_boot_stays_in_proportion() {
    let named = std::env::var_os("OCTOPOD_QEMU");
    setup::qemu::provide(named.as_deref(), &mut Silent).unwrap();
    setup::target::provide(&mut Silent).unwrap();
    let options = Options::parse_from(["octopod", "boot"]);
    let kernel = kernel_build::provide(&options, &Workspace::find().unwrap(), &mut Silent).unwrap().path;
    let (small, large) = (best_ms("1G", &kernel), best_ms("256G", &kernel));
    println!("1 GiB: {small} ms, 256 GiB: {large} ms");
    assert!(large <= 3 * small, "256 GiB take {large} ms to boot, 1 GiB {small} ms");
}
