//! The matrix with shell scripts as machines: its output, its files and its exit status.

use std::process::Command;
use std::sync::mpsc::channel;
use std::{fs, thread};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::fake::{Ended, Fake, PATIENCE};
use super::{SOUND_BOOT, STATUS_PASS, VERDICT_PASS, say};

/// A machine that does what its kernel's command line says.
fn machine() -> Fake {
    let pass = say(&["octopod: up", SOUND_BOOT, VERDICT_PASS], &format!("exit {STATUS_PASS}"));
    // The last word of the kernel's command line is the pipe that hears of the machine's process.
    let wait = "for word; do case $word in *do=wait=*) echo $$ >\"${word##*=}\";; esac; done; exec sleep 600";
    Fake::new(&format!(
        "case \"$*\" in\n\
         *do=pass*)\n{pass}\n;;\n\
         *do=wait=*)\n{wait}\n;;\n\
         *) echo 'no such machine' >&2; exit 1\n;;\n\
         esac"
    ))
}

/// A row whose machine does `what`, and which must end with `status`.
fn row(name: &str, what: &str, status: u8, more: &str) -> String {
    let kernel = Fake::kernel();
    let kernel = kernel.display();
    format!(
        "[[row]]\nname = \"{name}\"\nrun = \"boot --append do={what} --kernel '{kernel}'\"\n\
         {more}\nexpect = {{ status = {status} }}\n"
    )
}

fn json(ended: &Ended) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(ended.out.join("matrix.json")).unwrap()).unwrap()
}

fn results(ended: &Ended) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let json = json(ended);
    json["rows"].as_array().unwrap().iter().map(|row| (text(&row["name"]), text(&row["result"]))).collect()
}

fn strings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, result)| (name.to_string(), result.to_string())).collect()
}

#[test]
fn four_results_in_the_files_and_on_the_last_line() {
    let rows = row("good", "pass", 0, "with = [\"--smp 2\"]")
        + &row("bad", "pass", 5, "")
        + &row("dead", "die", 0, "")
        + &row("new", "pass", 0, "qemu = \"99.0.0\"");
    let fake = machine();
    let ended = fake.start_matrix(&rows, &[]).end();
    assert_eq!(ended.status, Some(1), "{ended:#?}");
    assert_eq!(ended.last_line(), "2 passed, 2 failed, 1 skipped");
    assert_eq!(
        results(&ended),
        strings(&[
            ("good", "passed"),
            ("good [--smp 2]", "passed"),
            ("bad", "failed"),
            ("dead", "not_started"),
            ("new", "skipped"),
        ])
    );
    let xml = fs::read_to_string(ended.out.join("junit.xml")).unwrap();
    assert_eq!(["<failure", "<error", "<skipped"].map(|element| xml.matches(element).count()), [1, 1, 1]);
    for part in [
        "skip     0.0 s  new: needs QEMU 99.0.0, and this is 10.0.2",
        "    status 0, not 5",
        "    cargo run -- boot --append 'do=pass'",
        "    QEMU did not start: no such machine",
        "1 of the failed rows did not start",
    ] {
        assert!(ended.stdout.contains(part), "{part}: {ended:#?}");
    }
    assert!(ended.out.join("rows/bad/serial.log").is_file());
}

#[test]
fn a_matrix_without_failures_ends_with_zero_and_repeats_itself() {
    let rows = row("a", "pass", 0, "") + &row("b", "pass", 0, "tier = \"full\"");
    let fake = machine();
    for (arguments, last) in [
        (&[][..], "1 passed, 0 failed, 0 skipped"),
        (&["--tier", "full", "--jobs", "2"], "2 passed, 0 failed, 0 skipped"),
        (&["--tier", "full", "--shard", "2/2"], "1 passed, 0 failed, 0 skipped"),
        (&["--shard", "3/3"], "0 passed, 0 failed, 0 skipped"),
        (&["b", "--quiet"], "1 passed, 0 failed, 0 skipped"),
    ] {
        let ended = fake.start_matrix(&rows, arguments).end();
        assert_eq!((ended.status, ended.last_line()), (Some(0), last), "{ended:#?}");
        assert_eq!(arguments.contains(&"--quiet"), ended.stdout.lines().count() == 1, "{ended:#?}");
    }
}

#[test]
fn a_name_that_no_row_has_and_a_file_that_is_none_are_mistakes() {
    let fake = machine();
    let ended = fake.start_matrix(&row("a", "pass", 0, ""), &["b"]).end();
    assert_eq!(ended.status, Some(2));
    assert!(
        ended.last_line().contains("no row of") && ended.last_line().contains("matches b;"),
        "{ended:#?}"
    );
    let ended = fake.start_matrix("[[row]]\nname = 1\n", &[]).end();
    assert_eq!(ended.status, Some(2));
    assert!(ended.last_line().contains("machines.toml"), "{ended:#?}");
}

#[test]
fn the_results_can_stand_alone_on_standard_output() {
    let fake = machine();
    let ended = fake.start_matrix(&row("a", "pass", 0, ""), &["--json", "-"]).end();
    let printed: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(printed, json(&ended));
    assert!(ended.stderr.contains("1 passed, 0 failed, 0 skipped"));
}

#[test]
fn an_interrupt_ends_every_machine_and_what_is_known_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("started");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let wait = format!("wait={}", pipe.display());
    let rows = row("a", "pass", 0, "") + &row("b", &wait, 0, "") + &row("c", "pass", 0, "");
    let (fake, (sender, starts)) = (machine(), channel());
    thread::spawn(move || sender.send(fs::read_to_string(pipe).unwrap()));
    let started = fake.start_matrix(&rows, &["--jobs", "1"]);
    let machine: i32 = starts.recv_timeout(PATIENCE).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_child(&started.child), Signal::INT).unwrap();
    let ended = started.end();
    assert_eq!(ended.status, Some(130), "{ended:#?}");
    assert_eq!(ended.last_line(), "1 passed, 0 failed, 2 skipped");
    assert_eq!(results(&ended), strings(&[("a", "passed"), ("b", "skipped"), ("c", "skipped")]));
    assert!(fs::read_to_string(ended.out.join("junit.xml")).unwrap().contains("message=\"interrupted\""));
    assert!(test_kill_process(Pid::from_raw(machine).unwrap()).is_err());
}
