//! Events from outside while CPUs work: a storm of NMIs, interrupts without a handler, and CPUs that are plugged in. No frame
//! is lost, and no CPU is reported.

use std::io::{BufRead, BufReader, Write};

use crate::guest::Guest;
use octopod::wire::ExitCode;
use octopod_ci::machine::qmp::connect;
use serde_json::json;

/// The number of NMIs that each CPU gets during one piece of work, and the number of pieces. On a slow host some NMIs arrive
/// after a piece of work and before the next.
const NMIS: usize = 30;
const PIECES: usize = 10;

const CPUS: usize = 8;

/// Boots to the shell.
fn boot(arguments: &[&str]) -> Guest {
    let mut guest = Guest::boot_to_shell(arguments);
    guest.hear_until("the shell", |guest| guest.count_lines("lists the commands") > 0);
    guest
}

/// Runs the stress for the `piece`th time, and `act` when it has begun. On a slow host some of `act` comes after its end.
fn stress(guest: &mut Guest, piece: usize, act: impl FnOnce(&mut Guest)) {
    guest.type_line("stress 500");
    guest.hear_until("the work", |guest| guest.count_lines("stress 500") == piece);
    act(guest);
    guest.hear_until("the end of the work", |guest| guest.count_lines("stress: pass") == piece);
}

/// Ends the run, which passes and has lost nothing.
fn power_off(guest: &mut Guest, pieces: usize) {
    guest.type_line("poweroff");
    assert_eq!(guest.hear_out(), ExitCode::Pass, "{:#?}", guest.lines);
    let lossless = |stress: &octopod::wire::Stress<String>| stress.lost == 0 && stress.double_allocated == 0;
    assert!(guest.seen.stress.len() >= pieces && guest.seen.stress.iter().all(lossless));
}

#[test]
fn a_storm_of_nmis_costs_nothing_but_time() {
    let mut guest = boot(&["--smp", "8"]);
    for piece in 1..=PIECES {
        stress(&mut guest, piece, |guest| {
            let mut qmp = guest.qmp();
            for _ in 0..NMIS {
                // To every CPU, while all stand: the machine goes on only between one and the next, and so does its work.
                for command in ["stop", "inject-nmi", "cont"] {
                    assert_eq!(qmp.execute(command, json!({}), guest.deadline()).unwrap(), json!({}));
                }
            }
        });
    }
    power_off(&mut guest, PIECES);
    let events = guest.seen.events.expect("events");
    // NMIs that arrive while one is pending merge with it. Their number depends on the load of the host.
    let sent = (NMIS * PIECES * CPUS) as u64;
    assert!(
        (CPUS as u64..=sent).contains(&events.unexpected_nmis),
        "{} NMIs of {sent}",
        events.unexpected_nmis
    );
    assert_eq!((events.watchdog_alarms, events.ipi_call_timeouts), (0, 0));
    assert_eq!(guest.seen.warnings, []);
}

/// Sends each vector that a device may use to each CPU as a message-signalled interrupt, including the kernel's own vectors and the
/// spurious vector. An interrupt that is not acknowledged would block those of lower priority on its CPU.
#[test]
fn interrupts_without_a_handler_are_counted_and_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("qtest");
    let qtest = format!("unix:{},server=on,wait=off", socket.display());
    let mut guest = boot(&["--smp", "8", "--", "-qtest", &qtest, "-qtest-log", "none"]);
    let mut answers = BufReader::new(connect(&socket, guest.deadline()).unwrap());
    let vectors = 0x20..=0xffu8;
    // They wait in the local APICs until the machine goes on.
    stress(&mut guest, 1, |guest| {
        guest.while_stopped(|_| {
            for vector in vectors.clone().rev() {
                for cpu in 0..CPUS {
                    let address = 0xfee0_0000 | cpu << 12;
                    writeln!(answers.get_mut(), "writel {address:#x} {vector:#x}").unwrap();
                    let mut answer = String::new();
                    answers.read_line(&mut answer).unwrap();
                    assert_eq!(answer, "OK\n");
                }
            }
        });
    });
    // After them the CPUs still work.
    stress(&mut guest, 2, |_| {});
    power_off(&mut guest, 2);
    let seen = &guest.seen;
    for vector in vectors {
        let counts = seen.interrupts.iter().find(|counts| counts.vector == vector);
        let counts = counts.unwrap_or_else(|| panic!("none on vector {vector:#x}"));
        assert!(counts.counts.iter().filter(|&&count| count > 0).count() == CPUS, "{counts:?}");
    }
    let unexpected = seen.interrupts.iter().filter(|counts| counts.name == "unregistered");
    let unexpected: Vec<u64> = unexpected.flat_map(|counts| counts.counts.iter().copied()).collect();
    assert!(!unexpected.is_empty() && unexpected.iter().all(|&count| count == 1), "{unexpected:?}");
    let events = seen.events.as_ref().expect("events");
    assert_eq!(events.unexpected_interrupts, unexpected.len() as u64);
    assert_eq!((events.watchdog_alarms, events.ipi_call_timeouts), (0, 0));
    assert_eq!(seen.warnings, []);
}

/// The CPUs wait for a SIPI that no CPU sends; the CPUs at work continue.
#[test]
fn cpus_that_are_plugged_in_are_left_alone() {
    let mut guest = boot(&["--smp", "2,maxcpus=4"]);
    stress(&mut guest, 1, |guest| guest.while_stopped(plug_all));
    stress(&mut guest, 2, |_| {});
    power_off(&mut guest, 2);
    assert_eq!(guest.seen.boot.as_ref().map(|boot| boot.cpus_online), Some(2));
    assert!(guest.seen.stress.iter().all(|stress| stress.cpus == 2));
}

/// Plugs in all CPUs for which the machine has room.
fn plug_all(guest: &Guest) {
    let slots = guest.execute("query-hotpluggable-cpus", json!({}));
    // An existing CPU has a path.
    let free = slots.as_array().unwrap().iter().filter(|slot| slot.get("qom-path").is_none());
    for (number, slot) in free.enumerate() {
        let mut device = slot["props"].clone();
        device["driver"] = slot["type"].clone();
        device["id"] = json!(format!("plugged-{number}"));
        guest.execute("device_add", device);
    }
    assert_eq!(guest.execute("query-cpus-fast", json!({})).as_array().unwrap().len(), 4);
}
