//! The launcher with shell scripts as machines: its exit status, report and last line for each way in which a run can end.
//! Nothing of a run outlives it. No kernel is built and no QEMU is needed.

mod checkout;
mod consent;
mod evidence;
pub(crate) mod fake;
mod files;
mod limits;
mod matrix;
mod pages;
mod terminal;

use std::fs;
use std::path::Path;
use std::process::Command;

use fake::{Fake, SOUND_BOOT, VERDICT_PASS, copy_program, launcher};
use octopod::wire::ExitCode;
use octopod_ci::VerdictKind;

const STATUS_PASS: i32 = ExitCode::Pass.qemu_status();

fn say(lines: &[&str], then: &str) -> String {
    let echo = |line: &&str| format!("cat <<'EOF'\n{line}\nEOF\n");
    format!("{}{then}", lines.iter().map(echo).collect::<String>())
}

#[test]
fn each_end_has_its_status_and_its_word() {
    let verdict_fail =
        r#"@octopod {"verdict":{"pass":false,"reason":"2 frames lost","free_frames_after":5}}"#;
    let refused = r#"@octopod {"refused":{"reason":"this processor lacks NX"}}"#;
    let usage = r#"@octopod {"usage":{"reason":"unknown option fro"}}"#;
    let panic = r#"@octopod {"panic":{"cpu":3,"message":"oh","location":"src/x.rs:9","rip":null,"slide":0}}"#;
    let exit = |code: ExitCode| format!("exit {}", code.qemu_status());
    let pass = exit(ExitCode::Pass);
    let rows = [
        (say(&[SOUND_BOOT, VERDICT_PASS], &pass), 0, "PASS"),
        (say(&[verdict_fail], &exit(ExitCode::Fail)), 1, "FAIL  2 frames lost"),
        (say(&[], &pass), 1, "FAIL  the exit code says pass, but there was no verdict"),
        (say(&[verdict_fail], &pass), 1, "FAIL  the exit code says pass, but the verdict says fail"),
        (
            say(&[SOUND_BOOT, "@octopod {\"verd", VERDICT_PASS], &pass),
            1,
            "FAIL  1 record lines could not be read",
        ),
        (say(&[usage], &exit(ExitCode::Usage)), 2, "USAGE  unknown option fro"),
        (say(&[], "echo 'no such machine' >&2; exit 1"), 2, "ERROR  QEMU did not start: no such machine"),
        (say(&[VERDICT_PASS], "exit 7"), 2, "ERROR  QEMU ended with status 7"),
        (say(&[], "kill -ABRT $$"), 2, "ERROR  signal 6 ended QEMU"),
        (say(&[panic], &exit(ExitCode::Panicked)), 3, "PANIC  CPU 3: oh, at src/x.rs:9"),
        (
            say(&["octopod: up"], "exit 0"),
            3,
            "PANIC  QEMU reset or powered off without a verdict (a triple fault?)",
        ),
        (say(&[VERDICT_PASS], "exit 0"), 3, "PANIC  QEMU reset or powered off"),
        (say(&[refused], &exit(ExitCode::Refused)), 5, "REFUSED  this processor lacks NX"),
    ];
    for (script, status, word) in rows {
        let fake = Fake::new(&script);
        let ended = fake.run(&["boot"]);
        assert_eq!(ended.status, Some(status), "{script}\n{ended:#?}");
        assert!(ended.last_line().starts_with(word), "{script}\n{ended:#?}");
        let report = ended.report();
        assert_eq!(report["schema"], 2);
        let expected = word.split_whitespace().next().unwrap().to_lowercase();
        assert_eq!(report["verdict"], expected.as_str(), "{script}");
    }
}

#[test]
fn a_machine_that_hangs_is_given_up_and_leaves_nothing_behind() {
    // The second process holds the machine's streams open and does not hear a polite signal.
    let fake =
        Fake::new("echo 'octopod: up'; (trap '' TERM; sleep 600; sleep 600) & trap '' TERM; wait; sleep 600");
    let alive = fake.watch();
    let ended = fake.run(&["boot", "--timeout", "1"]);
    assert_eq!(ended.status, Some(4), "{ended:#?}");
    // On a busy host the machine may not have come to its first line.
    let last = match fs::read_to_string(ended.out.join("serial.log")).unwrap_or_default().trim_end() {
        "" => "nothing came on the serial line",
        line => &format!("its last line: {line}"),
    };
    assert_eq!(ended.last_line(), format!("TIMEOUT  no answer within 1 s; {last}"), "{ended:#?}");
    assert_eq!(ended.report()["verdict"], "timeout");
    alive.all_gone();
}

#[test]
fn what_a_machine_says_while_it_is_ended_is_in_the_report_as_in_the_log() {
    let fake = Fake::new(
        "trap \"echo 'octopod: asked to end'; exit 1\" TERM; echo 'octopod: up'; while :; do sleep 0.1; done",
    );
    let ended = fake.run(&["boot", "--timeout", "2"]);
    assert_eq!(ended.status, Some(4), "{ended:#?}");
    // On a busy host the machine may not have come to its first line.
    let log = fs::read_to_string(ended.out.join("serial.log")).unwrap();
    let last = match log.lines().last() {
        None => "nothing came on the serial line",
        Some(line) => &format!("its last line: {line}"),
    };
    assert!(ended.last_line().ends_with(last), "{log:?}\n{ended:#?}");
}

#[test]
fn what_a_dead_machine_leaves_behind_does_not_hold_the_launcher() {
    let fake = Fake::new(&say(&[SOUND_BOOT, VERDICT_PASS], &format!("sleep 600 & exit {STATUS_PASS}")));
    let alive = fake.watch();
    let ended = fake.run(&["boot", "--timeout", "60"]);
    assert_eq!(ended.status, Some(0), "{ended:#?}");
    alive.all_gone();
}

#[test]
fn floods_do_not_stop_the_clock() {
    for script in ["while :; do echo 'octopod: again and again and again'; done", "exec cat /dev/zero"] {
        let ended = Fake::new(script).run(&["boot", "--timeout", "1", "--quiet"]);
        assert_eq!(ended.status, Some(4), "{script}");
    }
}

#[test]
fn a_line_of_absurd_length_is_cut_but_logged_whole() {
    let long = "head -c 1000000 /dev/zero | tr '\\0' a; echo";
    let fake =
        Fake::new(&format!("{long}\n{}", say(&[SOUND_BOOT, VERDICT_PASS], &format!("exit {STATUS_PASS}"))));
    let ended = fake.run(&["boot"]);
    assert_eq!(ended.status, Some(0));
    let longest = ended.stdout.lines().map(str::len).max().unwrap();
    assert!((1_000..100_000).contains(&longest), "{longest}");
    assert!(fs::metadata(ended.out.join("serial.log")).unwrap().len() > 1_000_000);
}

#[test]
fn bytes_that_are_no_text_are_shown_as_such_and_logged_as_they_are() {
    let fake = Fake::new(&say(
        &[],
        &say(&[SOUND_BOOT, VERDICT_PASS], &format!("printf 'a\\377\\033[2Jb\\r\\n'; exit {STATUS_PASS}")),
    ));
    let ended = fake.run(&["boot"]);
    assert_eq!(ended.status, Some(0));
    assert!(ended.stdout.contains("a\u{fffd}b\n"), "{ended:#?}");
    let log = fs::read(ended.out.join("serial.log")).unwrap();
    assert!(log.ends_with(b"a\xff\x1b[2Jb\r\n"));
}

#[test]
fn harmless_complaints_are_logged_but_not_shown() {
    let complain = "echo \"w: TCG doesn't support requested feature: x\" >&2; echo 'w: real' >&2\n";
    let script = format!("{complain}{}", say(&[SOUND_BOOT, VERDICT_PASS], &format!("exit {STATUS_PASS}")));
    let fake = Fake::new(&script);
    let ended = fake.run(&["boot"]);
    assert!(ended.stdout.contains("w: real") && !ended.stdout.contains("TCG doesn't"), "{ended:#?}");
    assert_eq!(fs::read_to_string(ended.out.join("qemu.log")).unwrap().lines().count(), 2);
}

#[test]
fn a_signal_ends_the_machine_and_says_so() {
    use rustix::process::{Pid, Signal, kill_process};

    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let fake = Fake::new("echo 'octopod: up'; sleep 600");
        let alive = fake.watch();
        let mut started = fake.start(&["boot"]);
        started.wait_for_line("octopod: up");
        kill_process(Pid::from_child(&started.child), signal).unwrap();
        let ended = started.end();
        assert_eq!(ended.status, Some(130), "{ended:#?}");
        assert_eq!(ended.report()["verdict"], "interrupted");
        alive.all_gone();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn even_a_killed_launcher_takes_its_machine_with_it() {
    let fake = Fake::new("echo 'octopod: up'; exec sleep 600");
    let alive = fake.watch();
    let mut started = fake.start(&["boot"]);
    started.wait_for_line("octopod: up");
    started.child.kill().unwrap();
    assert_eq!(started.end().status, None);
    alive.all_gone();
}

#[test]
fn wrong_options_say_what_is_allowed() {
    for (arguments, allowed) in [
        (
            &["bot"][..],
            "boot, stress, bench, run, shell, gdb, test, matrix, soak, new, list, report, alloc-trace, doctor",
        ),
        (&["--smp", "0"], "a number from 1 to 4096"),
        (&["--mem", "1.5G"], "K, M (the default), G or T"),
        (&["--machine", "isapc"], "pc, q35, microvm"),
        (&["--accel", "hvf"], "auto, kvm, tcg"),
        (&["--emulator", "vmware"], "qemu, bochs"),
        (&["--boot", "bios"], "multiboot2, uefi"),
        (&["--seconds", "0"], "from 0.001 to 86400 seconds"),
        (&["--workloads", "a b"], "letters, digits"),
        (&["--log", "smp=loud"], "\"loud\" is not a level; allowed: LEVEL and TARGET=LEVEL"),
        (&["run"], "run what? --example NAME"),
        (&["--timeout", "0"], "1..=604800"),
        (&["--smpp", "1"], "--smp"),
    ] {
        let output = Command::new(launcher()).args(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(said.contains(allowed), "{arguments:?}: {said}");
    }
    let output = Command::new(launcher()).args(["boot", "--seed", "1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("--seed is an option of stress and alloc-trace, not of boot")
    );
}

#[test]
fn without_qemu_and_without_leave_to_install_the_line_to_type_is_printed() {
    let output = Command::new(launcher())
        .args(["boot", "--kernel"])
        .arg(Fake::kernel())
        .env_remove("OCTOPOD_QEMU")
        .env("OCTOPOD_NO_INSTALL", "1")
        .env("PATH", "")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("QEMU (qemu-system-x86_64) is missing"), "{stdout}");
    assert!(stdout.contains("OCTOPOD_NO_INSTALL is set"), "{stdout}");
    let line = octopod_ci::setup::packages::Manager::find().map(|manager| manager.line());
    assert!(stdout.contains(&line.unwrap_or("--qemu PATH".to_owned())), "{stdout}");
}

#[test]
fn bochs_is_looked_for_only_where_it_is_asked_for() {
    let start = |arguments: &[&str]| {
        let output = Command::new(launcher())
            .args(["boot", "--emulator", "bochs", "--kernel"])
            .arg(Fake::kernel())
            .args(arguments)
            .env_remove("OCTOPOD_BOCHS")
            .env("OCTOPOD_NO_INSTALL", "1")
            .env("PATH", "")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let stdout = start(&[]);
    assert!(stdout.contains("Bochs (bochs) is missing") && stdout.contains("OCTOPOD_NO_INSTALL"), "{stdout}");
    let stdout = start(&["--bochs", "/nonexistent/bochs"]);
    assert!(stdout.contains("/nonexistent/bochs, the Bochs that --bochs"), "{stdout}");
    let fake = Fake::new("exit 1");
    let stdout = start(&["--bochs", fake.program().to_str().unwrap()]);
    assert!(stdout.contains("does not answer to --help as Bochs does"), "{stdout}");
    // An unsupported option is refused before the program is searched.
    let stdout = start(&["--machine", "pc"]);
    assert!(stdout.contains("--machine does not go with --emulator bochs"), "{stdout}");
}

#[test]
fn what_a_boot_protocol_needs_is_named_and_only_for_that_one() {
    let fake = Fake::new("exit 1");
    let start = |protocol: &str| {
        let output = Command::new(launcher())
            .args(["boot", "--boot", protocol, "--kernel"])
            .arg(Fake::kernel())
            .env("OCTOPOD_QEMU", fake.program())
            .env("OCTOPOD_NO_INSTALL", "1")
            .env("PATH", "")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let stdout = start("multiboot2");
    assert!(stdout.contains("GRUB for BIOS, xorriso, which --boot multiboot2 needs, is missing"), "{stdout}");
    assert!(stdout.contains("OCTOPOD_NO_INSTALL is set"), "{stdout}");
    for protocol in ["pvh", "multiboot1"] {
        let stdout = start(protocol);
        assert!(!stdout.contains("which --boot"), "{stdout}");
    }
}

#[test]
fn a_qemu_that_is_none_is_named() {
    let output = |qemu: &str| Command::new(launcher()).args(["boot", "--qemu", qemu]).output().unwrap();
    let missing = output("/nonexistent/qemu");
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stdout).contains("/nonexistent/qemu, the QEMU that --qemu"));
    let other = output("sh");
    assert_eq!(other.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&other.stdout).contains("does not answer to --version as QEMU does"));
}

#[test]
fn json_on_standard_output_stands_alone() {
    let fake = Fake::new(&say(&["octopod: up", SOUND_BOOT, VERDICT_PASS], &format!("exit {STATUS_PASS}")));
    let ended = fake.run(&["boot", "--json", "-"]);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report, ended.report());
    assert!(ended.stderr.contains("octopod: up") && ended.stderr.contains("PASS"), "{ended:#?}");
}

#[test]
fn quiet_is_one_line() {
    let fake = Fake::new(&say(
        &["octopod: up", SOUND_BOOT, VERDICT_PASS],
        &format!("echo x >&2; exit {STATUS_PASS}"),
    ));
    let ended = fake.run(&["boot", "--quiet"]);
    assert_eq!((ended.stdout.lines().count(), ended.stderr.as_str()), (1, ""), "{ended:#?}");
}

#[test]
fn the_script_of_a_run_runs_the_same_machine() {
    let fake = Fake::new("for word; do printf '<%s>' \"$word\"; done; echo");
    let ended = fake.run(&["boot", "--append", "it's=\"a b\" $HOME", "--", "-name", "a,,b c"]);
    let by_hand = Command::new("sh").arg(ended.out.join("qemu.sh")).output().unwrap();
    let by_hand = String::from_utf8_lossy(&by_hand.stdout).into_owned();
    assert!(by_hand.contains(" work=boot it's=\"a b\" $HOME>"), "{by_hand}");
    let (before, after) =
        ended.stdout.lines().find(|line| line.starts_with('<')).unwrap().split_once("<-qmp>").unwrap();
    let (_socket, after) = after.split_once('>').unwrap();
    assert_eq!(by_hand.trim_end(), format!("{before}{after}"));
    assert!(after.ends_with("<-name><a,,b c>"));
}

#[test]
fn the_library_says_the_same_and_prints_nothing() {
    let fake = Fake::new(&say(&["octopod: up", SOUND_BOOT, VERDICT_PASS], &format!("exit {STATUS_PASS}")));
    let outcome = octopod_ci::launch(&fake.boot());
    assert_eq!((outcome.status, outcome.report.verdict), (0, VerdictKind::Pass));
    assert_eq!(outcome.serial, ["octopod: up"]);
    assert_eq!(outcome.report.command_line, "work=boot");
}

#[test]
fn the_subcommand_of_cargo_is_the_launcher_beside_it() {
    let subcommand = env!("CARGO_BIN_EXE_cargo-octopod");
    let ran = |program: &Path, words: &[&str]| {
        let output = Command::new(program).args(words).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    // Cargo names the subcommand once more.
    let own = ran(&launcher(), &["boot", "--help"]);
    assert_eq!(own.0, Some(0), "{own:?}");
    assert_eq!(ran(Path::new(subcommand), &["octopod", "boot", "--help"]).0, Some(0));
    assert_eq!(ran(Path::new(subcommand), &["octopod", "--version"]), ran(&launcher(), &["--version"]));
    // Alone, it names the launcher that is missing.
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("cargo-octopod");
    copy_program(Path::new(subcommand), &alone);
    let (status, _, errors) = ran(&alone, &["octopod", "boot"]);
    assert_eq!(status, Some(2), "{errors}");
    let missing = folder.path().canonicalize().unwrap().join("octopod");
    assert!(errors.contains(&format!("cannot start {}: ", missing.display())), "{errors}");
}
