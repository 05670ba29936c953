//! The pages of a run, and the comparison of two runs.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use octopod::wire::ExitCode;
use rustix::process::{Pid, Signal, kill_process};

use super::fake::{Fake, SOUND_BOOT, VERDICT_PASS, launcher};
use super::{STATUS_PASS, say};

#[test]
fn each_run_leaves_a_page_and_one_that_cannot_be_written_is_no_failure() {
    let fake = Fake::new(&say(&[SOUND_BOOT, VERDICT_PASS], &format!("exit {STATUS_PASS}")));
    let ended = fake.run(&["boot"]);
    assert_eq!(ended.status, Some(0), "{ended:#?}");
    let file = ended.out.join("report.html");
    let page = fs::read_to_string(&file).unwrap();
    assert!(page.contains("PASS") && page.contains("CPU 0"), "{page}");
    assert!(fs::read_to_string(ended.out.join("boot.svg")).unwrap().contains("CPU 0"));
    // Drawn once more from what was stored, it is the same.
    fs::remove_file(&file).unwrap();
    let again =
        Command::new(launcher()).args([OsStr::new("report"), ended.out.as_os_str()]).output().unwrap();
    assert!(again.status.success(), "{again:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), page);
    // A file cannot be put in a folder's place.
    fs::remove_file(&file).unwrap();
    fs::create_dir_all(file.join("in the way")).unwrap();
    let ended = fake.run(&["boot"]);
    assert_eq!(ended.status, Some(0), "{ended:#?}");
    assert!(ended.last_line().starts_with("PASS"), "{ended:#?}");
    assert!(ended.stdout.contains("no report.html in "), "{ended:#?}");
}

/// The parent of a path of one component is an empty path, which names no folder.
#[test]
fn a_run_is_named_by_a_path_of_one_component() {
    let fake = Fake::new(&say(&[SOUND_BOOT, VERDICT_PASS], &format!("exit {STATUS_PASS}")));
    let out = fake.run(&["boot"]).out;
    let report = |arguments: &[&str]| {
        let output =
            Command::new(launcher()).arg("report").args(arguments).current_dir(&out).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    fs::remove_file(out.join("report.html")).unwrap();
    assert_eq!(report(&["report.json"]), (Some(0), "./report.html\n".to_owned()));
    assert!(out.join("report.html").is_file());
    for arguments in [&["nosuchdir"][..], &[".", "nosuchdir"], &["nosuchdir", "."]] {
        let (status, text) = report(arguments);
        assert_eq!(status, Some(2), "{text}");
        assert!(text.starts_with("ERROR  no run at nosuchdir: name the folder"), "{text}");
    }
    assert_eq!(report(&["report.json", "report.json"]).0, Some(0));
    assert!(out.join("comparison.html").is_file());
}

#[test]
fn two_runs_are_set_side_by_side() {
    let stress = |operations: u32| {
        let result = serde_json::json!({ "stress": {
            "workload": "pairs", "allocator": "octopod", "cpus": 1, "operations": operations, "elapsed_us": 1_000_000,
            "lost": 0, "double_allocated": 0, "cycles": { "p50": 1, "p99": 2, "p999": 3, "max": 4 }
        } });
        format!("@octopod {result}")
    };
    let fakes = [100, 300].map(|operations| {
        Fake::new(&say(&[SOUND_BOOT, &stress(operations), VERDICT_PASS], &format!("exit {STATUS_PASS}")))
    });
    let [old, new] = fakes.each_ref().map(|fake| fake.run(&["stress", "--workloads", "pairs"]).out);
    let compare = |arguments: &[&OsStr]| {
        let output = Command::new(launcher()).arg("report").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (status, text) = compare(&[old.as_os_str(), new.join("report.json").as_os_str()]);
    assert_eq!(status, Some(0), "{text}");
    let line = text.lines().find(|line| line.starts_with("pairs, octopod, 1 CPU")).unwrap();
    assert!(line.ends_with("3.00 better"), "{text}");
    assert!(fs::read_to_string(new.join("comparison.html")).unwrap().contains("better"));
    let (status, text) = compare(&[old.as_os_str(), "/nonexistent".as_ref()]);
    assert_eq!((status, text.starts_with("ERROR  no run at /nonexistent")), (Some(2), true), "{text}");
    assert_eq!(compare(&["a".as_ref(), "b".as_ref(), "c".as_ref()]).0, Some(2));
    for (json, problem) in [
        ("{\"schema\": 7}", "its schema is 7, this launcher reads 1 to 2"),
        ("{\"schema\": 1", "it is cut off"),
        ("octopod", "it is no JSON"),
    ] {
        fs::write(old.join("report.json"), json).unwrap();
        for arguments in [&[old.as_os_str()][..], &[old.as_os_str(), new.as_os_str()]] {
            let (status, text) = compare(arguments);
            assert_eq!(status, Some(2), "{text}");
            assert!(text.starts_with("ERROR  ") && text.contains(problem), "{text}");
        }
    }
}

/// A workload's result on an allocator with so many CPUs.
fn result(allocator: &str, cpus: u32) -> String {
    let share =
        |cpu: u32| serde_json::json!({ "stress_cpu": { "workload": "pairs", "cpu": cpu, "operations": 5 } });
    let result = serde_json::json!({ "stress": {
        "workload": "pairs", "allocator": allocator, "cpus": cpus, "operations": 5 * cpus, "elapsed_us": 1_000_000,
        "lost": 0, "double_allocated": 0, "cycles": { "p50": 1, "p99": 2, "p999": 3, "max": 4 }
    } });
    let lines = (0..cpus).map(share).chain([result]).map(|record| format!("@octopod {record}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_comparison_that_is_cut_off_keeps_what_was_measured() {
    let all = [(1, "octopod"), (1, "locked"), (2, "octopod")].map(|(cpus, name)| result(name, cpus));
    let lines: Vec<&str> = all.iter().map(String::as_str).collect();
    let panic = r#"@octopod {"panic":{"cpu":1,"message":"oh","location":null,"rip":null,"slide":0}}"#;
    let lost =
        r#"@octopod {"verdict":{"pass":false,"reason":"pairs on locked: lost","free_frames_after":5}}"#;
    let status = |code: ExitCode| format!("exit {}", code.qemu_status());
    for (script, status, word) in [
        (say(&lines, "echo 'octopod: at work'; sleep 600"), 130, "INTERRUPTED"),
        (say(&[&lines[..], &[panic]].concat(), &status(ExitCode::Panicked)), 3, "PANIC"),
        (say(&[&lines[..], &[lost]].concat(), &status(ExitCode::Fail)), 1, "FAIL"),
    ] {
        let fake = Fake::new(&script);
        let pictures = tempfile::tempdir().unwrap();
        let folder = pictures.path().join("new").display().to_string();
        let mut started = fake.start(&["stress", "--allocator", "octopod,locked", "--pictures", &folder]);
        if status == 130 {
            started.wait_for_line("octopod: at work");
            kill_process(Pid::from_child(&started.child), Signal::INT).unwrap();
        }
        let ended = started.end();
        assert_eq!(ended.status, Some(status), "{ended:#?}");
        assert!(ended.last_line().starts_with(word), "{ended:#?}");
        let row = |words: &[&str]| {
            ended.stdout.lines().any(|line| line.split_whitespace().eq(words.iter().copied()))
        };
        assert!(row(&["workload", "allocator", "1", "2"]), "{ended:#?}");
        assert!(row(&["pairs", "octopod", "5", "10"]) && row(&["locked", "5"]), "{ended:#?}");
        let rates = ended.report()["stress"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["operations"].clone())
            .collect::<Vec<_>>();
        assert_eq!(rates, [5, 5, 10]);
        for folder in [&ended.out, &pictures.path().join("new")] {
            let scaling = fs::read_to_string(folder.join("scaling.svg")).unwrap();
            assert!(scaling.contains("octopod") && scaling.contains("locked"), "{scaling}");
        }
    }
}

#[test]
fn a_report_names_its_origin_and_a_line_that_repeats_the_run() {
    let fake =
        Fake::new(&say(&[SOUND_BOOT, &result("octopod", 1), VERDICT_PASS], &format!("exit {STATUS_PASS}")));
    let ended = fake.run(&["stress", "--workloads", "pairs"]);
    assert_eq!(ended.status, Some(0), "{ended:#?}");
    let origin = ended.report()["origin"].clone();
    let text =
        |field: &str| origin[field].as_str().unwrap_or_else(|| panic!("no {field}: {origin}")).to_owned();
    assert_eq!(text("version"), env!("CARGO_PKG_VERSION"));
    assert!(text("date").ends_with(" UTC") && text("host").starts_with(std::env::consts::OS), "{origin}");
    let (seed, repeat, command) = (text("seed"), text("repeat"), text("emulator_command"));
    assert!(command.contains(&format!("stress.seed={seed} ")) && command.contains("-smp 8"), "{origin}");
    assert!(!command.contains(&*ended.out.to_string_lossy()), "{origin}");
    // The same words with the seed that was drawn.
    let words = shlex::split(repeat.strip_prefix("cargo run -- ").unwrap()).unwrap();
    assert_eq!(words[..2], ["stress".to_owned(), format!("--seed={seed}")], "{repeat}");
    let again = Command::new(launcher()).args(&words).env("OCTOPOD_QEMU", fake.program()).output().unwrap();
    assert!(again.status.success(), "{again:?}");
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(ended.out.join("report.json")).unwrap()).unwrap();
    assert_eq!((&report["origin"]["seed"], &report["origin"]["repeat"]), (&seed.into(), &repeat.into()));
    let page = fs::read_to_string(ended.out.join("report.html")).unwrap();
    assert!(page.contains("Stress on 8 CPUs: ") && page.contains("<dt>repeat</dt>"), "{page}");
}
