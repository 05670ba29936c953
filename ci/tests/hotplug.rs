//! A CPU that is plugged in while the kernel runs is left alone: it waits for a SIPI that nobody sends, and those at work
//! go on undisturbed.

use std::process::Command;
use std::time::{Duration, Instant};

use clap::Parser;
use octopod::wire::Record;
use octopod_ci::accel::Accel;
use octopod_ci::doors::Medium;
use octopod_ci::emulator::Kind;
use octopod_ci::notice::Silent;
use octopod_ci::process::{Happening, Stream, Streams, Supervised};
use octopod_ci::qemu::Machine;
use octopod_ci::qmp::Qmp;
use octopod_ci::records::{Line, Seen, read_line};
use octopod_ci::rundir::Workspace;
use octopod_ci::verdict::{End, judge};
use octopod_ci::{Options, VerdictKind, kernel_build, setup};
use serde_json::json;

/// Long enough for a host with much else to do.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn a_cpu_that_is_plugged_in_does_not_disturb() {
    let options = Options::parse_from([
        "octopod",
        "stress",
        "--smp",
        "2,maxcpus=4",
        "--seconds",
        "3",
        "--machine",
        "q35",
    ]);
    let named = std::env::var_os("OCTOPOD_QEMU");
    let qemu = setup::qemu::provide(named.as_deref(), &mut Silent).unwrap();
    setup::target::provide(&mut Silent).unwrap();
    let kernel = kernel_build::provide(&options, &Workspace::find(), &mut Silent).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("qmp");
    let medium = Medium::Kernel { file: kernel.path, command_line: options.kernel_command_line() };
    let machine =
        Machine { options: &options, accel: Accel::Tcg, medium: &medium, qmp_socket: Some(&socket) };
    let mut command = Command::new(&qemu.program);
    command.args(qemu.arguments(&machine).iter().flatten());
    let deadline = Instant::now() + LIMIT;
    let mut machine = Supervised::spawn(&mut command, Streams::default()).unwrap();

    let mut seen = Seen::default();
    let mut last_plain = None;
    let mut ends_at_plugging = None;
    let status = loop {
        match machine.next(deadline) {
            Happening::Line(Stream::Stdout, line) => match read_line(&line) {
                Line::Record(_, record) => {
                    // The CPUs are at work, and have the most of it before them.
                    if matches!(*record, Record::Progress(_)) && ends_at_plugging.is_none() {
                        let mut qmp = Qmp::connect(&socket, deadline).unwrap();
                        plug_all(&mut qmp, deadline);
                        ends_at_plugging = Some(seen.stress.len());
                    }
                    seen.take(*record);
                }
                Line::Plain(text) => last_plain = Some(text.to_string()),
                Line::Unreadable(line) => seen.take_unreadable(&line),
            },
            Happening::Line(Stream::Stderr, _) => {}
            Happening::Ended(status) => break status.code().unwrap(),
            other => panic!("{other:?}; the kernel's last line: {last_plain:?}"),
        }
    };
    let judged = judge(Kind::Qemu, &End::Status(status), &seen, last_plain.as_deref(), "");
    assert_eq!((judged.kind, judged.reason), (VerdictKind::Pass, None));
    assert_eq!(seen.boot.as_ref().map(|boot| boot.cpus_online), Some(2));
    let ended_before = ends_at_plugging.expect("the kernel tells of its progress");
    assert!(seen.stress.len() > ended_before, "no workload ended after the CPUs were plugged in");
    assert!(seen.stress.iter().all(|stress| stress.cpus == 2 && stress.lost == 0 && stress.doubled == 0));
}

/// Plugs in all CPUs for which there is room, which are two.
fn plug_all(qmp: &mut Qmp, deadline: Instant) {
    let slots = qmp.execute("query-hotpluggable-cpus", json!({}), deadline).unwrap();
    // What is there already has a path.
    let free = slots.as_array().unwrap().iter().filter(|slot| slot.get("qom-path").is_none());
    for (number, slot) in free.enumerate() {
        let mut device = slot["props"].clone();
        device["driver"] = slot["type"].clone();
        device["id"] = json!(format!("plugged-{number}"));
        qmp.execute("device_add", device, deadline).unwrap();
    }
    let cpus = qmp.execute("query-cpus-fast", json!({}), deadline).unwrap();
    assert_eq!(cpus.as_array().unwrap().len(), 4);
}
