//! The meaning of command lines.

use std::time::Duration;

use clap::error::ErrorKind;
use octopod::boot::command_line::Named;
use octopod::stress::parameters::MAX_CPU_COUNTS;
use octopod::stress::workloads::Workload;

use super::*;
use crate::commands::launch::UNLIMITED;
use crate::kernel::KernelSource;
use crate::machine::{AccelChoice, BootProtocol};

fn launch(words: &[&str]) -> Launch {
    parse(words).unwrap_or_else(|error| panic!("{error}")).0
}

fn line(words: &[&str]) -> String {
    launch(words).command_line.to_string()
}

fn refusal(words: &[&str]) -> String {
    let error = launch(words).check().unwrap_err();
    assert_eq!(error.verdict().status(), 2, "{error}");
    error.to_string()
}

#[test]
fn the_default_is_stress_on_eight_cpus() {
    for words in [&[][..], &["--smp", "8"], &["stress"]] {
        let launch = launch(words);
        assert_eq!((launch.kind, launch.machine.smp.to_string()), (LaunchKind::Stress, "8".to_owned()));
        assert_eq!(launch.command_line.to_string(), "work=stress");
    }
}

#[test]
fn the_bench_has_defaults_of_its_own() {
    let bench = launch(&["bench"]).machine;
    assert_eq!((bench.smp.to_string(), bench.accel), ("2".to_owned(), AccelChoice::Tcg));
    assert!(bench.counts_instructions);
    let boot = launch(&["boot"]).machine;
    assert_eq!((boot.smp.to_string(), boot.accel), ("8".to_owned(), AccelChoice::Auto));
}

#[test]
fn the_kernel_hears_of_each_option_that_is_its_own() {
    let launch = launch(&[
        "--append",
        "log=debug stress.seed=1",
        "--seconds",
        "5",
        "--workloads",
        "pairs,bulk",
        "--seed",
        "7",
        "--inject",
        "leak_frame",
        "--log",
        "smp=trace,warn",
    ]);
    assert_eq!(
        launch.command_line.to_string(),
        "work=stress stress.seconds=5 stress.workloads=pairs,bulk stress.seed=7 inject=leak_frame log=smp=trace,warn log=debug stress.seed=1"
    );
    assert_eq!(launch.run.limit, Duration::from_secs(65));
}

#[test]
fn a_comparison_has_time_for_each_of_its_parts() {
    let limit = |words: &[&str]| launch(words).run.limit.as_secs();
    assert_eq!(limit(&["--allocator", "locked", "--cpus", "4"]), 60);
    assert_eq!(
        limit(&["--allocator", "octopod,locked", "--cpus", "1,8", "--workloads", "pairs,bulk"]),
        60 + 2 * 8
    );
    let all = <&Workload>::all().len() as u64;
    assert_eq!(limit(&["--cpus", "1,2,4", "--seconds", "9"]), 60 + 9 + 2 * 3 * all);
    assert_eq!(limit(&["--allocator", "octopod,locked"]), 60 + 2 * 2 * MAX_CPU_COUNTS as u64 * all);
}

#[test]
fn a_slow_firmware_has_time() {
    let limit = |protocol| launch(&["boot", "--boot", protocol]).run.limit;
    assert!(limit("uefi") > limit("multiboot2") && limit("multiboot2") > limit("pvh"));
    let named = launch(&["boot", "--boot", "uefi", "--timeout", "7"]).run.limit;
    assert_eq!(named, Duration::from_secs(7));
}

#[test]
fn every_boot_protocol_has_its_name() {
    use strum::VariantArray;
    for protocol in BootProtocol::VARIANTS {
        assert_eq!(launch(&["boot", "--boot", protocol.name()]).machine.boot, *protocol);
    }
    assert_eq!(launch(&["boot"]).machine.boot, BootProtocol::Pvh);
    assert_eq!(launch(&["boot", "--emulator", "bochs"]).machine.boot, BootProtocol::Multiboot2);
}

#[test]
fn a_command_takes_its_own_options_only() {
    for words in [
        &["boot", "--seed", "7"][..],
        &["boot", "--command", "help"],
        &["boot", "--example", "hello"],
        &["stress", "--example", "hello"],
        &["stress", "x"],
        &["bench", "--emulator", "bochs"],
        &["shell", "--emulator", "bochs"],
        &["gdb", "--emulator", "bochs"],
        &["boot", "--tier", "full"],
        &["boot", "--count", "2"],
    ] {
        assert_eq!(parse(words).unwrap_err().kind(), ErrorKind::UnknownArgument, "{words:?}");
    }
    assert!(launch(&["--seed", "7"]).check().is_ok());
}

#[test]
fn the_host_has_no_machine_and_no_kernel() {
    for words in [
        &["--boot", "uefi"][..],
        &["--cpu", "max"],
        &["--smp", "2"],
        &["--machine", "pc"],
        &["--accel", "tcg"],
        &["--emulator", "bochs"],
        &["--log", "info"],
        &["--kernel", "k"],
        &["--", "-d", "int"],
    ] {
        let words = [&["stress", "--host"], words].concat();
        assert_eq!(parse(&words).unwrap_err().kind(), ErrorKind::ArgumentConflict, "{words:?}");
    }
    let host = launch(&["stress", "--host", "--seconds", "1", "--mem", "64M", "--cpus", "200"]);
    assert_eq!(host.kind, LaunchKind::StressOnHost);
    assert!(host.check().is_ok());
}

#[test]
fn a_program_of_ones_own_is_an_example_or_a_file() {
    assert_eq!(launch(&["run", "--example", "hello"]).kernel.example(), Some("hello"));
    assert_eq!(launch(&["gdb", "--example", "hello"]).kernel.example(), Some("hello"));
    let file = launch(&["run", "--kernel", "k.elf"]);
    assert!(matches!(file.kernel.source, KernelSource::File(_)) && file.kind == LaunchKind::Run);
    assert_eq!(file.command_line.to_string(), "work=program");
    let runner = launch(&["run", "target/k", "--smp", "2"]);
    assert!(matches!(runner.kernel.source, KernelSource::File(_)) && runner.machine.smp.cpus() == 2);
    assert!(matches!(launch(&["run"]).kernel.source, KernelSource::Workspace), "the project's own");
    let both = ["run", "--example", "hello", "--kernel", "k.elf"];
    assert_eq!(parse(&both).unwrap_err().kind(), ErrorKind::ArgumentConflict);
}

#[test]
fn only_shell_serves_the_console() {
    let error = refusal(&["boot", "--append", "work=shell"]);
    assert_eq!(error, "work=shell is an option of shell, not of boot");
    assert!(launch(&["boot", "--append", "work=shell work=boot"]).check().is_ok());
    assert!(launch(&["shell"]).check().is_ok());
    assert_eq!(launch(&["shell", "-c", "help", "--command", "irq"]).run.console.unwrap().typed.len(), 2);
}

#[test]
fn a_debugging_session_boots_and_waits() {
    let gdb = launch(&["gdb", "--append", "work=stress"]);
    assert_eq!(gdb.command_line.to_string(), "work=boot work=stress");
    assert_eq!(gdb.run.limit, UNLIMITED);
    assert_eq!(launch(&["gdb", "--timeout", "5"]).run.limit, Duration::from_secs(5));
}

#[test]
fn the_rest_is_qemus() {
    assert_eq!(launch(&["boot", "--", "-d", "int"]).machine.qemu_arguments, ["-d", "int"]);
}

#[test]
fn replay_selects_the_workload_of_the_kernel() {
    assert_eq!(line(&["--replay", "t"]), "work=stress stress.workloads=replay");
    let both = "work=stress stress.workloads=pairs,replay";
    assert_eq!(line(&["--replay", "t", "--workloads", "pairs,replay"]), both);
    assert_eq!(line(&["--replay", "t", "--workloads", "pairs"]), both);
    let missing = refusal(&["--workloads", "replay"]);
    assert_eq!(missing, "--workloads replay needs a trace: --replay FILE");
}

#[test]
fn modules_that_the_kernel_cannot_have_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes| {
        let path = folder.path().join(name);
        std::fs::File::create(&path).unwrap().set_len(bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (small, large) = (file("small", 1), file("large", 65 << 20));
    let other = format!("{small}=other");
    assert_eq!(launch(&["boot", "--module", &small, "--module", &other]).modules[1].name, "other");
    assert!(launch(&["boot", "--module", &small, "--module", &other]).check().is_ok());
    let twice = refusal(&["boot", "--module", &small, "--module", &small]);
    assert_eq!(twice, "two modules are named small: --module FILE=NAME renames one");
    let many: Vec<String> = (0..33).map(|index| format!("--module={small}=m{index}")).collect();
    let many: Vec<&str> = ["boot"].into_iter().chain(many.iter().map(String::as_str)).collect();
    assert_eq!(refusal(&many), "33 modules, and 32 are the most");
    let too_large = refusal(&["boot", "--mem", "64M", "--module", &large]);
    assert!(too_large.contains("a kernel with its modules needs at least"), "{too_large}");
    let absent = folder.path().join("absent");
    assert!(refusal(&["boot", "--module", absent.to_str().unwrap()]).contains("absent"));
}

#[test]
fn more_cpus_than_the_machine_has_are_refused() {
    let text = refusal(&["stress", "--smp", "4", "--cpus", "2,8"]);
    assert!(text.contains('8') && text.contains('4'), "{text}");
    assert!(launch(&["stress", "--smp", "4", "--cpus", "1,4"]).check().is_ok());
}

#[test]
fn what_bochs_cannot_do_is_refused() {
    let refused = refusal(&["boot", "--emulator", "bochs", "--machine", "pc"]);
    assert!(refused.contains("--machine does not go with --emulator bochs"), "{refused}");
    let fine = ["boot", "--emulator", "bochs", "--boot", "multiboot1-grub", "--compressed"];
    assert!(launch(&fine).check().is_ok());
}

#[test]
fn a_run_is_made_of_words_that_repeat_it() {
    for (words, command) in [(&[][..], "stress"), (&["--smp", "2"], "stress --smp 2"), (&["boot"], "boot")] {
        assert_eq!(launch(words).words.join(" ".as_ref()), command);
    }
}
