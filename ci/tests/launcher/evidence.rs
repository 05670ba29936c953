//! The launcher's evidence: which lines are records, what a pass requires, how an exit of the emulator itself is reported. Neither
//! a slow reader nor a malformed file changes the verdict.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use octopod::wire::ExitCode;
use rustix::process::{Pid, Signal, kill_process};

use super::fake::{Fake, PAIRS, SOUND_BOOT, VERDICT_PASS, launcher};
use super::{STATUS_PASS, say};
use crate::project::folder;

/// A machine that says this and passes.
fn passing(lines: &[&str]) -> Fake {
    Fake::new(&say(lines, &format!("exit {STATUS_PASS}")))
}

/// A machine whose kernel takes the launcher's nonce, `$n` in the lines of `records`.
fn framed(records: &[&str], then: &str) -> Fake {
    let nonce =
        "for word; do case $word in *record_nonce=*) n=${word#*record_nonce=}; n=${n%% *};; esac; done";
    let say = |(number, line): (usize, &&str)| match line.strip_prefix("@octopod ") {
        Some(json) => format!("printf '@octopod:%s:%s %s\\r\\n' \"$n\" {number} '{json}'"),
        None => format!("printf '%s\\n' '{line}'"),
    };
    let mut number = 0;
    let lines: Vec<String> = records
        .iter()
        .flat_map(|part| part.lines())
        .map(|line| {
            let text = say((number, &line));
            number += usize::from(line.starts_with("@octopod "));
            text
        })
        .collect();
    Fake::new(&format!("{nonce}\n{}\n{then}", lines.join("\n")))
}

#[test]
fn text_is_no_record_once_the_kernel_has_taken_the_nonce() {
    let refused = r#"octopod> help @octopod {"refused":{"reason":"x"}}"#;
    let failed =
        r#"@octopod:0000000000000001:9 {"verdict":{"pass":false,"reason":"y","free_frames_after":7}}"#;
    let fake = framed(&[SOUND_BOOT, refused, failed, VERDICT_PASS], &format!("exit {STATUS_PASS}"));
    let ended = fake.run(&["boot"]);
    assert_eq!(ended.status, Some(0), "{ended:#?}");
    // It is shown as what it is.
    assert!(ended.stdout.lines().any(|line| line == refused), "{ended:#?}");
    assert_eq!(ended.report()["unreadable_records"], 0);
}

#[test]
fn a_kernel_without_the_nonce_still_has_its_verdict() {
    assert_eq!(passing(&[SOUND_BOOT, VERDICT_PASS]).run(&["boot"]).status, Some(0));
    // A recorded log bears another run's nonce.
    let numbered = |(number, line): (usize, &str)| {
        line.replace("@octopod ", &format!("@octopod:00000000000000a1:{number} "))
    };
    let log = [SOUND_BOOT, VERDICT_PASS].join("\n");
    let log: Vec<String> = log.lines().enumerate().map(numbered).collect();
    let lines: Vec<&str> = log.iter().map(String::as_str).collect();
    assert_eq!(passing(&lines).run(&["boot"]).status, Some(0));
    let ended = passing(&[&lines[..3], &lines[4..]].concat()).run(&["boot"]);
    assert_eq!(ended.status, Some(1), "{ended:#?}");
}

#[test]
fn a_pass_without_or_against_evidence_is_none() {
    let verdict_fail = r#"@octopod {"verdict":{"pass":false,"reason":"no","free_frames_after":7}}"#;
    let two = SOUND_BOOT.replace("\"cpus_online\":8", "\"cpus_online\":2");
    let two = two.replacen("\"state\":\"online\"", "\"state\":\"failed\"", 6);
    let idle = PAIRS.replace("\"operations\":5", "\"operations\":0");
    let more = VERDICT_PASS.replace(":7}", ":6}");
    let pairs: &[&str] = &["stress", "--workloads", "pairs"];
    let rows: [(&[&str], &[&str], u8, &str); 9] = [
        (&[VERDICT_PASS], &["boot"], 1, "FAIL  no record says how the kernel came up"),
        (
            &[SOUND_BOOT, verdict_fail, VERDICT_PASS],
            &["boot"],
            1,
            "FAIL  the exit code says pass, but the verdict says fail: no",
        ),
        (
            &[SOUND_BOOT, VERDICT_PASS, VERDICT_PASS],
            &["boot"],
            1,
            "FAIL  records that a run has once came more than once: verdict",
        ),
        (
            &[SOUND_BOOT, SOUND_BOOT, VERDICT_PASS],
            &["boot"],
            3,
            "PANIC  the machine was reset: the kernel booted a second time",
        ),
        (&[&two, VERDICT_PASS], &["boot"], 1, "FAIL  2 of the 8 CPUs that firmware lists are online"),
        (
            &[SOUND_BOOT, VERDICT_PASS],
            &["boot", "--smp", "9"],
            1,
            "FAIL  8 of the machine's 9 CPUs are online",
        ),
        (&[SOUND_BOOT, &more], &["boot"], 1, "FAIL  7 frames were free before the work, and 6 are after it"),
        (
            &[SOUND_BOOT, &idle, VERDICT_PASS],
            pairs,
            1,
            "FAIL  workload pairs on octopod has done no operation",
        ),
        (
            &[SOUND_BOOT, VERDICT_PASS],
            pairs,
            1,
            "FAIL  workload pairs on octopod was asked for, and has no result",
        ),
    ];
    for (lines, arguments, status, words) in rows {
        let ended = passing(lines).run(arguments);
        assert_eq!(ended.status, Some(status.into()), "{words}: {ended:#?}");
        assert!(ended.last_line().starts_with(words), "{words}: {ended:#?}");
    }
    assert_eq!(passing(&[&two, VERDICT_PASS]).run(&["boot", "--allow-missing-cpus"]).status, Some(0));
    assert_eq!(passing(&[SOUND_BOOT, PAIRS, VERDICT_PASS]).run(pairs).status, Some(0));
}

/// A kernel whose file the user names sends the records of a boot and a pass, and no record of the work that was asked for.
#[test]
fn a_named_kernel_without_the_stress_passes_run_and_is_refused_by_stress() {
    let boot = SOUND_BOOT.split_once("\n@octopod {\"memory\"").expect("a record of memory").0;
    let fake = passing(&[boot, VERDICT_PASS]);
    let ended = fake.run(&["run"]);
    assert_eq!(ended.status, Some(0), "{ended:#?}");
    for work in ["stress", "bench"] {
        let ended = fake.run(&[work]);
        assert_eq!(ended.status, Some(2), "{ended:#?}");
        let expected = format!("USAGE  this kernel has no {work}: it passed without it");
        assert!(ended.last_line().starts_with(&expected), "{ended:#?}");
    }
}

#[test]
fn numbers_that_cannot_be_cost_the_pass_and_nothing_else() {
    let most = u64::MAX;
    for record in [
        r#"{"region":{"start":2,"end":1,"owner":"usable"}}"#.to_owned(),
        format!(r#"{{"region":{{"start":0,"end":{most},"owner":"usable"}}}}"#),
        format!(
            r#"{{"cpu":{{"cpu":60000,"apic_id":0,"state":"online","failed_stage":null,"stages_us":{{"online":{most}}}}}}}"#
        ),
        format!(r#"{{"latency":{{"workload":"pairs","buckets":[[5,{most}],[5,0]]}}}}"#),
        format!(r#"{{"bench":{{"name":"x","unit":"y","total":{most},"operations":0}}}}"#),
        format!(
            r#"{{"zone_counts":{{"after":true,"node":4294967295,"zone":"low","frames_total":{most},"free_frames":{most},"free_by_order":[{most},{most},0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}}}}"#
        ),
    ] {
        let fake = passing(&[SOUND_BOOT, &format!("@octopod {record}"), VERDICT_PASS]);
        let ended = fake.run(&["boot"]);
        assert_eq!(ended.status, Some(1), "{record}: {ended:#?}");
        assert!(ended.last_line().starts_with("FAIL  1 record lines could not be read"), "{ended:#?}");
        assert_eq!(ended.report()["unreadable_records"], 1);
        assert!(ended.out.join("report.html").is_file() && ended.stderr.is_empty(), "{ended:#?}");
    }
    // Addresses of a panic are whatever they are.
    let panic = format!(
        r#"@octopod {{"panic":{{"cpu":4294967295,"message":"oh","location":null,"rip":{most},"slide":1,"tsc":0}}}}"#
    );
    let frame = format!(r#"@octopod {{"backtrace_frame":{{"address":{most}}}}}"#);
    let status = ExitCode::Panicked.qemu_status();
    let ended = Fake::new(&say(&[&panic, &frame], &format!("exit {status}"))).run(&["boot"]);
    assert_eq!(ended.status, Some(3), "{ended:#?}");
}

#[test]
fn foreign_text_commands_no_terminal_and_forges_no_line() {
    let reason = r"a\u009b2Jb\r\nPASS  8 CPUs\u202ec\u001b[2K";
    let verdict =
        format!(r#"@octopod {{"verdict":{{"pass":false,"reason":"{reason}","free_frames_after":7}}}}"#);
    let status = ExitCode::Fail.qemu_status();
    let odd = r"printf 'k\302\233 2J\342\200\256x\033[1m\r\n'; printf 'q\302\233\342\200\256\rPASS\n' >&2";
    let fake = Fake::new(&say(&[SOUND_BOOT, &verdict], &format!("{odd}; exit {status}")));
    let ended = fake.run(&["boot"]);
    assert_eq!(ended.status, Some(1), "{ended:#?}");
    assert_eq!(ended.last_line(), "FAIL  a2Jb");
    for line in ended.stdout.lines() {
        assert!(line.chars().all(octopod_ci::base::text::is_shown), "{line:?}");
        assert!(!line.starts_with("PASS"), "{ended:#?}");
    }
    let page = fs::read_to_string(ended.out.join("report.html")).unwrap();
    assert!(!page.contains(['\u{9b}', '\u{202e}', '\u{1b}']));
}

#[test]
fn names_and_arguments_command_no_terminal() {
    let odd = "odd\u{1b}[2J\u{9b}2J\u{202e}\rname";
    let option = format!("--{odd}");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(odd)).unwrap();
    for words in [
        &["new", odd][..],
        &["new", "name", "--path", odd],
        &["test", odd],
        &["run", odd],
        &["list", odd],
        &["report", odd],
        &["boot", "--kernel", odd],
        &["boot", &option],
        &["boot", "--smp", odd],
        &["boot", "--mem", odd],
        &["stress", "--host", "--workloads", odd],
        &["report", "--merge", odd],
        &[odd],
    ] {
        let said = folder::said(folder::outside(&folder::launcher()).args(words).current_dir(folder.path()));
        assert!(said.status.is_some_and(|status| status != 0), "{words:?}: {said:?}");
        let is_shown = |line: &str| line.chars().all(octopod_ci::base::text::is_shown);
        assert!(said.text.lines().all(is_shown), "{words:?}: {said:?}");
    }
}

#[test]
fn an_end_of_the_emulators_own_has_its_own_sentence() {
    for (script, words) in [
        ("echo 'QEMU emulator version 10.0.2'; exit 0", "it said: QEMU emulator version 10.0.2"),
        ("echo 'qemu: terminating on signal 15 from pid 1 (x)' >&2; exit 0", "signal 15 ended QEMU before"),
        ("kill -TERM $$; sleep 600", "signal 15 ended QEMU"),
    ] {
        let ended = Fake::new(script).run(&["boot"]);
        assert_eq!(ended.status, Some(2), "{script}: {ended:#?}");
        assert!(ended.last_line().starts_with("ERROR  ") && ended.last_line().contains(words), "{ended:#?}");
    }
    let ended = Fake::new("sleep 600").run(&["boot", "--timeout", "1"]);
    assert_eq!(ended.status, Some(4), "{ended:#?}");
    assert!(ended.last_line().ends_with("nothing came on the serial line"), "{ended:#?}");
    let ended = passing(&[SOUND_BOOT, VERDICT_PASS]).run(&["boot", "--", "-M", "pc-i440fx-2.12"]);
    assert_eq!(ended.status, Some(2), "{ended:#?}");
    assert!(ended.last_line().contains("pc-i440fx-2.12 loads no PVH kernel"), "{ended:#?}");
}

#[test]
fn a_slow_reader_does_not_change_the_verdict() {
    // More than a pipe and what the launcher keeps in memory hold.
    let flood = "i=0; while [ $i -lt 40000 ]; do echo \"[    1.000000] cpu0 stress: line $i of very many\"; i=$((i+1)); done";
    let fake =
        Fake::new(&format!("{flood}\n{}", say(&[SOUND_BOOT, VERDICT_PASS], &format!("exit {STATUS_PASS}"))));
    let mut command = fake.command(&["boot", "--timeout", "600"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let report = fake.out().join("report.json");
    // The test reads only when the run is over.
    while !report.exists() {
        thread::yield_now();
        assert!(child.try_wait().unwrap().is_none(), "the launcher ends before all is read");
    }
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(stdout.lines().last().unwrap().starts_with("PASS"), "{:?}", stdout.lines().last());
    for line in ["line 0 of very many", "line 39999 of very many"] {
        assert!(stdout.contains(line), "{line}");
    }
}

#[test]
fn a_stop_of_the_launcher_beyond_its_limit_does_not_change_the_verdict() {
    const LIMIT_S: u64 = 12;
    // The machine goes on while the launcher is stopped, and has ended when that continues.
    let script = say(&[SOUND_BOOT, VERDICT_PASS], &format!("exit {STATUS_PASS}"));
    let fake =
        Fake::new(&format!("echo 'octopod: up'; until [ -e \"$0.go\" ]; do sleep 0.1; done\n{script}"));
    let alive = fake.watch();
    let mut started = fake.start(&["boot", "--timeout", &LIMIT_S.to_string()]);
    started.wait_for_line("octopod: up");
    let pid = Pid::from_child(&started.child);
    kill_process(pid, Signal::STOP).unwrap();
    // Not less than the limit: that of a user who types Ctrl-Z, and returns.
    thread::sleep(Duration::from_secs(LIMIT_S + 2));
    fs::write(fake.program().with_extension("go"), "").unwrap();
    alive.all_gone();
    kill_process(pid, Signal::CONT).unwrap();
    let ended = started.end();
    assert_eq!(ended.status, Some(0), "{ended:#?}");
}

#[test]
fn the_second_signal_ends_the_launcher_at_once() {
    // It does not hear a polite signal, so the first one begins a wait.
    let fake = Fake::new("trap '' TERM; echo 'octopod: up'; sleep 600; sleep 600; sleep 600");
    let alive = fake.watch();
    let mut started = fake.start(&["boot"]);
    started.wait_for_line("octopod: up");
    let pid = Pid::from_child(&started.child);
    kill_process(pid, Signal::INT).unwrap();
    // Signals of one kind that wait become one.
    while started.child.try_wait().unwrap().is_none() {
        let _ = kill_process(pid, Signal::INT);
        thread::yield_now();
    }
    let ended = started.end();
    assert_eq!(ended.status, Some(130), "{ended:#?}");
    alive.all_gone();
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let fake = Fake::new("exit 1");
    let pipe = pipe.to_str().unwrap();
    for arguments in [
        &["boot", "--kernel", pipe][..],
        &["stress", "--replay", pipe],
        &["stress", "--host", "--replay", pipe],
        &["report", pipe],
        &["report", "/dev/zero"],
    ] {
        let output =
            Command::new(launcher()).args(arguments).env("OCTOPOD_QEMU", fake.program()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(stdout.contains("it is not a regular file"), "{arguments:?}: {stdout}");
    }
}
