//! Boots images of tables, valid and broken, and compares each boot with its expected result. The kernel's own tests read the
//! same images on the host: `src/acpi/image_tests.rs`.

mod cases;
mod images;

use std::collections::BTreeSet;
use std::io::Write;

use octopod_ci::base::{Silent, Workspace};
use octopod_ci::kernel::{KernelSource, build};
use octopod_ci::{Outcome, launch, parse, setup};

use cases::{Case, room_for};
use images::BASE;

use crate::launcher::fake::PATIENCE;

/// How many warnings there are at most: a flood of entries is a few.
const MAX_WARNINGS: usize = 24;

/// Boots of those that show most: the others are for the full tier.
#[test]
fn some_cases_boot_as_they_must() {
    boot_all(&["xsdt-checksum", "io-apic-in-the-kernel", "hpet-in-2e40", "madt-checksum"]);
}

#[test]
fn every_case_boots_as_it_must() {
    if std::env::var("OCTOPOD_TIER").as_deref() == Ok("full") {
        boot_all(&[]);
    }
}

/// Boots the cases of these names, or all.
fn boot_all(names: &[&str]) {
    let all = cases::all();
    let wanted: Vec<_> = all.iter().filter(|case| names.is_empty() || names.contains(&&*case.name)).collect();
    assert!(names.is_empty() || wanted.len() == names.len(), "{names:?}");
    let mut wrong = Vec::new();
    for case in wanted {
        let outcome = boot(case);
        let report = &outcome.report;
        let warned: BTreeSet<_> =
            report.warnings.iter().filter_map(|warning| warning.table.as_deref()).collect();
        let unnamed = case.warnings.iter().chain(&case.probed).find(|table| !warned.contains(*table));
        let online = report.boot.as_ref().map_or(case.cpus, |boot| boot.kernel.cpus_online);
        let is_few = outcome.serial.iter().filter(|line| line.contains("warning: ")).count() <= MAX_WARNINGS;
        if outcome.status != case.status || online != case.cpus || unnamed.is_some() || !is_few {
            let serial = outcome.serial.join("\n");
            wrong.push(format!(
                "{}: status {}, {online} CPUs, no warning about {unnamed:?}, {:?}\n{serial}",
                case.name, outcome.status, report.reason
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn boot(case: &Case) -> Outcome {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&case.image).unwrap();
    let loader = format!("loader,file={},addr={BASE:#x},force-raw=on", file.path().display());
    let room = room_for(&case.image);
    let append = format!("acpi_rsdp={BASE:#x} reserve={BASE:#x}-{:#x} {}", BASE + room, case.append);
    let command: &[&str] = match case.name.starts_with("reset-") {
        true => &["shell", "--command", "reboot"],
        false => &["boot"],
    };
    let machine = ["--accel", "tcg", "--smp", "4", "--mem", case.memory, "--append", append.trim_end()];
    let arguments = [command, &machine, &["--", "-device", &loader]].concat();
    let mut config = parse(&arguments).unwrap().0;
    let named = std::env::var_os("OCTOPOD_QEMU");
    setup::qemu::provide(named.as_deref(), &mut Silent).unwrap();
    setup::target::provide(&mut Silent).unwrap();
    let kernel = build::provide(&config.kernel, &Workspace::find().unwrap(), &mut Silent).unwrap().path;
    config.kernel.source = KernelSource::File(kernel);
    config.run.limit = PATIENCE;
    launch(&config)
}
