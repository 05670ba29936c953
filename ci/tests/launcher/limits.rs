//! Input that is refused before anything is built or started, and limits that hold for any program.

use std::fs;
use std::process::Command;

use octopod_ci::base::{Message, Observer};
use octopod_ci::launch_on;
use octopod_ci::machine::accelerator::Host;

use super::fake::{Fake, SOUND_BOOT, VERDICT_PASS, launcher, write_program};
use super::{STATUS_PASS, say};

#[test]
fn what_cannot_work_is_refused_at_once_with_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    fs::write(&trace, "+0 0 0\n-0 99\n").unwrap();
    let trace = trace.to_str().unwrap();
    let long = |bytes: usize| "x".repeat(bytes - "record_nonce=0123456789abcdef work=boot ".len());
    for (arguments, parts) in [
        (vec!["boot".to_owned(), "--append".to_owned(), long(2_049)], ["2049 bytes", "at most 2048"]),
        (vec!["boot".to_owned(), "--append".to_owned(), long(100_000)], ["100000 bytes", "at most 2048"]),
        (words("boot --mem 1K"), ["--mem of 1 KiB", "1028 KiB"]),
        (words("boot --boot uefi --mem 16M"), ["OVMF", "64 MiB"]),
        (words("boot --inject nope"), ["nope", "leak_frame"]),
        (words("stress --workloads nope"), ["nope", "pairs"]),
        (words("stress --allocator nope"), ["nope", "magazine"]),
        (words(&format!("stress --replay {trace}")), ["for 100 CPUs", "has 8:"]),
        (words("boot --smp 300 --machine microvm"), ["microvm", "288"]),
        (words("run --example nope"), ["no example `nope`", "hello"]),
    ] {
        // No QEMU, no compiler: it is known without them.
        let mut command = Command::new(launcher());
        command.args(&arguments).env("PATH", "").env("OCTOPOD_NO_INSTALL", "1").env_remove("OCTOPOD_QEMU");
        command.env_remove("CARGO").env_remove("RUSTC");
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.lines().last().unwrap().starts_with("USAGE"), "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{parts:?}: {text}");
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn memory_for_less_than_the_kernel_that_is_named_is_refused() {
    let fake = Fake::new("echo 'octopod: up'; exit 1");
    // The fake kernel ends at 2 MiB.
    let ended = fake.run(&["boot", "--mem", "1100K"]);
    assert_eq!(ended.status, Some(2), "{ended:#?}");
    assert!(ended.last_line().contains("the kernel's image needs at least"), "{ended:#?}");
    assert!(!ended.stdout.contains("octopod: up"), "{ended:#?}");
}

#[test]
fn kernels_and_traces_that_are_no_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let fake = Fake::new("exit 1");
    for (option, path, kind) in [
        ("--kernel", fifo.to_str().unwrap(), "but a FIFO"),
        ("--kernel", "/dev/zero", "but a device"),
        ("--kernel", "/", "but a folder"),
        ("--replay", fifo.to_str().unwrap(), "but a FIFO"),
        ("--replay", "/dev/zero", "but a device"),
    ] {
        let mut command = Command::new(launcher());
        command.args(["stress", option, path]).env("OCTOPOD_QEMU", fake.program());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(kind), "{option} {path}: {text}");
    }
}

/// A launcher that may have so much memory, in KiB, and is ended by the system if it takes more.
fn bounded(fake: &Fake, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 1200000; exec \"$0\" \"$@\""]).arg(launcher()).args(arguments);
    command.arg("--kernel").arg(Fake::kernel()).env("OCTOPOD_QEMU", fake.program());
    command.arg("--out").arg(fake.program().with_extension("out"));
    // Each arena of the allocator takes addresses, not memory.
    command.env("MALLOC_ARENA_MAX", "1").output().unwrap()
}

#[test]
fn a_version_without_end_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let qemu = folder.path().join("qemu");
    write_program(&qemu, "#!/bin/sh\nexec yes 'QEMU emulator version 10.0.2, or another'\n");
    let fake = Fake::new("exit 1");
    let output = bounded(&fake, &["boot", "--qemu", qemu.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text.contains("where a few lines were expected"), "{text}");
}

#[test]
fn of_long_serial_lines_as_much_is_kept_as_of_short_ones() {
    let line = "a".repeat(20_000);
    let pass = say(&[SOUND_BOOT, VERDICT_PASS], &format!("exit {STATUS_PASS}"));
    let fake = Fake::new(&format!("yes '{line}' | head -n 1000\n{pass}"));
    let outcome = octopod_ci::launch(&fake.boot());
    let kept: usize = outcome.serial.iter().map(String::len).sum();
    assert_eq!(outcome.status, 0);
    assert!((1 << 20..10 << 20).contains(&kept), "{kept} bytes");
}

#[test]
fn a_trace_without_end_takes_no_memory() {
    // A trace's magic, a beginning, a CPU, and then one event after the other.
    let stream = "while [ \"$1\" != -chardev ]; do shift; done; file=${2#*path=}";
    let fake = Fake::new(&format!(
        "{stream}\ncat \"$0.head\" >\"$file\"; yes \"$(cat \"$0.event\")\" | tr -d '\\n' | head -c 64000000 >>\"$file\"\n{}",
        say(&[SOUND_BOOT, VERDICT_PASS], &format!("exit {STATUS_PASS}"))
    ));
    use octopod::wire::{RecordedEvent, TRACE_MAGIC, TracePart};
    let part = |part: &TracePart| postcard::to_stdvec(part).unwrap();
    let start = part(&TracePart::Start { tsc_hz: 1, entry_tsc: 0, skew_cycles: 0, slide: 0 });
    let cpu = part(&TracePart::Cpu { cpu: 0, recorded: 1, lost: 0 });
    fs::write(fake.program().with_extension("head"), [&TRACE_MAGIC[..], &start, &cpu].concat()).unwrap();
    // Bytes that a shell can hold: none of them is 0 or a line end.
    let event =
        part(&TracePart::Event(RecordedEvent { tsc: 1 << 40 | 1 << 30 | 1, event: 1, a: 0x81, b: 0x82 }));
    let event: Vec<u8> = event.into_iter().collect();
    assert!(!event.contains(&0) && !event.contains(&b'\n'), "{event:?}");
    fs::write(fake.program().with_extension("event"), event).unwrap();
    let output = bounded(&fake, &["boot", "--trace", "--timeout", "300"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.lines().last().unwrap().contains("more than 4194304 events"), "{text}");
}

/// The messages of the launcher.
#[derive(Default)]
struct Notes(Vec<String>);

impl Observer for Notes {
    fn receive(&mut self, message: Message<'_>) {
        if let Message::Note(text) = message {
            self.0.push(text.to_owned());
        }
    }
}

#[test]
fn tcg_takes_the_place_of_a_kvm_that_opens_and_fails() {
    let host = Host { linux_on_x86_64: true, virtualisation_flag: Some("vmx"), kvm_device: Ok(()) };
    let fails = "case \"$*\" in *'-accel kvm'*) echo 'qemu: failed to initialize kvm: No such device' >&2; exit 1;; esac";
    let pass = say(&["octopod: up", SOUND_BOOT, VERDICT_PASS], &format!("exit {STATUS_PASS}"));
    let fake = Fake::new(&format!("{fails}\n{pass}"));
    let mut notes = Notes::default();
    let outcome = launch_on(&fake.boot(), &host, &mut notes);
    assert_eq!(outcome.status, 0, "{:?}", outcome.report.reason);
    assert_eq!(outcome.report.host.unwrap().accel, "tcg");
    let note = notes.0.iter().find(|note| note.contains("TCG is used instead")).expect("a note");
    assert!(note.contains("failed to initialize kvm"), "{note}");
    // An accelerator that is requested by name is not replaced; nor is that of a run whose kernel has started.
    let mut by_name = fake.boot();
    by_name.machine.accel = octopod_ci::machine::AccelChoice::Kvm;
    assert_eq!(launch_on(&by_name, &host, &mut Notes::default()).status, 2);
    let speaks =
        Fake::new(&format!("case \"$*\" in *'-accel kvm'*) echo 'octopod: up'; exit 1;; esac\n{pass}"));
    assert_eq!(launch_on(&speaks.boot(), &host, &mut Notes::default()).status, 2);
}
