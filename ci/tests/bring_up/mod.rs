//! Bring-up on machines whose firmware lists CPUs as no emulator does, and the cost of bring-up.

mod frozen;
mod tables;

use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

use octopod_ci::base::{Silent, Workspace};
use octopod_ci::kernel::{KernelConfig, KernelSource, build};
use octopod_ci::report::warning::WarningReport;
use octopod_ci::{Outcome, launch, parse, setup};

use tables::{ADDRESS, Image, LOCAL_APIC, Madt, ROOM};

use crate::launcher::fake::PATIENCE;

#[test]
fn a_listed_cpu_that_does_not_exist_is_named_and_the_rest_boots() {
    let image = Madt::listing(&[0, 1, 9, 2, 3]).image();
    let outcome = boot_with(&image, &["--smp", "4"]);
    assert_eq!(outcome.status, 1, "{}", told(&outcome));
    assert_eq!(
        outcome.report.reason.as_deref(),
        Some("cpu 2 (APIC ID 9) did not start, last seen in stage sipi_sent")
    );
    assert_eq!(online(&outcome), [0, 1, 2, 3]);

    let outcome = boot_with(&image, &["--smp", "4", "--allow-missing-cpus"]);
    assert_eq!(outcome.status, 0, "{}", told(&outcome));
    let failed = &outcome.report.cpus[2];
    assert_eq!(
        (failed.apic_id, failed.state.as_str(), failed.failed_stage.as_deref()),
        (9, "failed", Some("sipi_sent"))
    );
    // The run passes, so the log's warning is what a reader sees of the missing CPU.
    assert!(told(&outcome).contains("warning: cpu 2 (APIC ID 9) did not start"), "{}", told(&outcome));
    assert_eq!(online(&outcome), [0, 1, 2, 3]);
}

#[test]
fn cpus_are_listed_in_any_order_twice_and_by_either_type() {
    let outcome = boot_with(&Madt::listing(&[3, 1, 0, 2]).image(), &["--smp", "4"]);
    assert_eq!(outcome.status, 0, "{}", told(&outcome));
    let ids: Vec<_> = outcome.report.cpus.iter().map(|cpu| (cpu.cpu, cpu.apic_id)).collect();
    assert_eq!(ids, [(0, 0), (1, 3), (2, 1), (3, 2)]);

    let twice = Madt::listing(&[0, 1, 1, 2, 3]).x2apic_cpu(2).image();
    let outcome = boot_with(&twice, &["--smp", "4"]);
    assert_eq!(outcome.status, 0, "{}", told(&outcome));
    assert_eq!(outcome.report.boot.as_ref().map(|boot| boot.kernel.cpus_listed), Some(4));
    let ignored = "2 enabled CPU entries ignored, for a CPU that another enabled entry lists as well";
    assert!(outcome.report.warnings.iter().any(|warning| warning.message == ignored), "{}", told(&outcome));

    let by_type_9 = (0..4).fold(Madt::new(LOCAL_APIC), Madt::x2apic_cpu).image();
    let outcome = boot_with(&by_type_9, &["--smp", "4"]);
    assert_eq!(outcome.status, 0, "{}", told(&outcome));
    assert_eq!(online(&outcome), [0, 1, 2, 3]);
}

#[test]
fn cpus_that_broken_entries_hide_are_missing() {
    for (entry, defect) in [
        (&[0, 0, 2, 2, 1, 0, 0, 0][..], "invalid length, the rest of the table is ignored"),
        (&[0, 1, 2, 2, 1, 0, 0, 0], "invalid length, the rest of the table is ignored"),
        (&[0, 0xff, 2, 2, 1, 0, 0, 0], "only 8 bytes left in the table"),
        (&[9], "only 1 bytes left in the table"),
    ] {
        let image = Madt::listing(&[0, 1]).bytes(entry).image();
        let outcome = boot_with(&image, &["--smp", "4"]);
        assert_eq!(outcome.status, 1, "{}", told(&outcome));
        let reason = outcome.report.reason.as_deref().unwrap_or_default();
        assert!(reason.starts_with("CPUID counts 4 CPUs") && reason.contains(defect), "{reason}");
        assert_eq!(online(&outcome), [0, 1]);
        let warning = warning(&outcome, "MADT");
        assert_eq!((warning.address.as_deref(), warning.offset), (Some("0x6000080"), Some(60)));
        assert!(warning.message.contains(defect), "{warning:?}");

        let outcome = boot_with(&image, &["--smp", "4", "--allow-missing-cpus"]);
        assert_eq!(outcome.status, 0, "{}", told(&outcome));
        // Two packages, of which the table lists what the BSP's has: CPUID cannot say whether all are there.
        let outcome = boot_with(&image, &["--smp", "4,sockets=4"]);
        assert_eq!(outcome.status, 1, "{}", told(&outcome));
    }
}

#[test]
fn a_table_that_cannot_be_believed_leaves_one_cpu_and_the_others_missing() {
    let whole = || Madt::listing(&[0, 1, 2, 3]).image();
    for image in
        [whole().with_broken_madt(), whole().with_madt_length(u32::MAX), whole().with_madt_length(20)]
    {
        let outcome = boot_with(&image, &["--smp", "4"]);
        assert_eq!(outcome.status, 1, "{}", told(&outcome));
        let reason = "CPUID counts 4 CPUs, and no usable ACPI table lists any";
        assert_eq!(outcome.report.reason.as_deref(), Some(reason));
        assert_eq!(warning(&outcome, "MADT").address.as_deref(), Some("0x6000080"));
        assert_eq!(online(&outcome), [0]);
    }
    // The firmware's own are still there.
    let outcome = boot_with(&whole().with_broken_rsdp(), &["--smp", "4"]);
    assert_eq!(outcome.status, 0, "{}", told(&outcome));
    assert_eq!(online(&outcome), [0, 1, 2, 3]);
    assert_eq!(warning(&outcome, "RSDP").address.as_deref(), Some("0x6000000"));
}

/// QEMU decodes the registers' address from no register, so nothing can really be moved; but whose word is believed shows.
#[test]
fn the_local_apics_address_is_the_processors_and_type_5_overrides_the_header() {
    let off = ["--smp", "2", "--append", "x2apic=off"];
    let header_is_wrong = Madt::new(0xfed1_0000).cpu(0).cpu(1).io_apic();
    let outcome = boot_with(&header_is_wrong.local_apic_address(LOCAL_APIC.into()).image(), &off);
    assert_eq!(outcome.status, 0, "{}", told(&outcome));
    assert!(outcome.report.warnings.is_empty(), "{:?}", outcome.report.warnings);

    let override_is_wrong = Madt::listing(&[0, 1]).io_apic().local_apic_address(0x10_0000_0000);
    let outcome = boot_with(&override_is_wrong.image(), &off);
    assert_eq!(outcome.status, 0, "{}", told(&outcome));
    let warning = warning(&outcome, "MADT");
    assert_eq!(warning.address.as_deref(), Some("0x1000000000"));
    assert!(warning.message.contains("using 0xfee00000 from IA32_APIC_BASE"), "{warning:?}");
    assert_eq!(online(&outcome), [0, 1]);
}

#[test]
fn an_id_that_needs_x2apic_mode_is_a_limit_where_that_is_off() {
    let image = Madt::listing(&[0, 1]).io_apic().x2apic_cpu(300).image();
    let outcome = boot_with(&image, &["--smp", "2", "--append", "x2apic=off"]);
    assert_eq!(outcome.status, 0, "{}", told(&outcome));
    let message = "1 CPUs cannot be addressed without x2APIC mode, the first has APIC ID 300: not started";
    assert_eq!(warning(&outcome, "MADT").message, message);
    assert_eq!(outcome.report.cpus[2].state, "not_started");
    let expected = outcome.report.boot.as_ref().unwrap().kernel.cpus_expected.clone().unwrap();
    assert_eq!((expected.by_tables, expected.unreachable), (3, 1));
    assert_eq!(online(&outcome), [0, 1]);
}

#[test]
fn the_trampoline_goes_where_memory_is_free() {
    // It takes two pages, of which this is the first.
    for (reserved, page) in [("0x9000-0xa0000", 0x7000), ("0x8000-0xa0000", 0x6000)] {
        let outcome = boot(&["--smp", "3", "--append", &format!("reserve={reserved}")]);
        assert_eq!(outcome.status, 0, "{}", told(&outcome));
        assert_eq!(outcome.report.boot.as_ref().unwrap().kernel.bring_up.trampoline_page, page, "{reserved}");
        assert_eq!(online(&outcome), [0, 1, 2]);
    }
}

#[test]
fn a_cpu_costs_less_than_72_kib_and_leaves_a_stamp_at_each_stage_in_order() {
    let outcome = boot(&["--smp", "64"]);
    assert_eq!(outcome.status, 0, "{}", told(&outcome));
    let bring_up = outcome.report.boot.as_ref().unwrap().kernel.bring_up;
    let measured = bring_up.frames_taken * 4096 / 63;
    println!("{} bytes for each CPU, {measured} with page tables", bring_up.bytes_per_cpu);
    assert!(bring_up.bytes_per_cpu > 0 && bring_up.bytes_per_cpu < 72 << 10, "{bring_up:?}");
    // With the page tables, and what all CPUs share.
    assert!((1..76 << 10).contains(&measured), "{bring_up:?}");
    assert_eq!(bring_up.apic_error_status, 0);
    assert!((1..=3).contains(&bring_up.start_up_rounds), "{bring_up:?}");
    for cpu in &outcome.report.cpus[1..] {
        let at = cpu.stages_us;
        let stages = [
            at.sipi_sent,
            at.real_mode,
            at.protected_mode,
            at.long_mode,
            at.gs,
            at.idt,
            at.apic,
            at.timer,
            at.online,
        ];
        assert!(stages.iter().all(Option::is_some) && stages.is_sorted(), "{cpu:?}");
    }
}

/// Boots with these tables instead of the firmware's.
fn boot_with(image: &Image, arguments: &[&str]) -> Outcome {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&image.0).unwrap();
    let loader = format!("loader,file={},addr={ADDRESS:#x},force-raw=on", file.path().display());
    let options = format!("acpi_rsdp={ADDRESS:#x} reserve={ADDRESS:#x}-{:#x}", ADDRESS + ROOM);
    let mut arguments: Vec<String> = arguments.iter().map(|word| word.to_string()).collect();
    match arguments.iter().position(|word| word == "--append") {
        Some(at) => arguments[at + 1] += &format!(" {options}"),
        None => arguments.extend(["--append".to_owned(), options]),
    }
    arguments.extend(["--", "-device", &loader].map(str::to_owned));
    boot(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn boot(arguments: &[&str]) -> Outcome {
    let mut config = parse(&[&["boot", "--accel", "tcg"], arguments].concat()).unwrap().0;
    config.kernel.source = KernelSource::File(kernel().clone());
    config.run.limit = PATIENCE;
    launch(&config)
}

/// The kernel, built once.
fn kernel() -> &'static PathBuf {
    static KERNEL: OnceLock<PathBuf> = OnceLock::new();
    KERNEL.get_or_init(|| {
        let named = std::env::var_os("OCTOPOD_QEMU");
        setup::qemu::provide(named.as_deref(), &mut Silent).unwrap();
        setup::target::provide(&mut Silent).unwrap();
        build::provide(&KernelConfig::default(), &Workspace::find().unwrap(), &mut Silent).unwrap().path
    })
}

/// The APIC IDs of the CPUs that are online, ascending.
fn online(outcome: &Outcome) -> Vec<u32> {
    let online = outcome.report.cpus.iter().filter(|cpu| cpu.state == "online");
    let mut ids: Vec<_> = online.map(|cpu| cpu.apic_id).collect();
    ids.sort_unstable();
    ids
}

/// The first warning about that table.
#[track_caller]
fn warning<'a>(outcome: &'a Outcome, table: &str) -> &'a WarningReport {
    let found = outcome.report.warnings.iter().find(|warning| warning.table.as_deref() == Some(table));
    found.unwrap_or_else(|| panic!("no warning about {table}: {}", told(outcome)))
}

fn told(outcome: &Outcome) -> String {
    format!("{:?} {:?}\n{}", outcome.error, outcome.report.reason, outcome.serial.join("\n"))
}
