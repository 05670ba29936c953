//! What a run leaves for people, and what the launcher makes of two runs.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use super::fake::{Fake, LAUNCHER, VERDICT_PASS};
use super::{STATUS_PASS, say};

#[test]
fn each_run_leaves_a_page_and_one_that_cannot_be_written_is_no_failure() {
    let cpu = r#"@octopod {"cpu":{"cpu":0,"apic_id":0,"state":"online","failed_stage":null,"stages_us":{"online":5}}}"#;
    let fake = Fake::new(&say(&[cpu, VERDICT_PASS], &format!("exit {STATUS_PASS}")));
    let ended = fake.run(&["boot"]);
    assert_eq!(ended.status, Some(0), "{ended:#?}");
    let file = ended.out.join("report.html");
    let page = fs::read_to_string(&file).unwrap();
    assert!(page.contains("PASS") && page.contains("CPU 0"), "{page}");
    assert!(fs::read_to_string(ended.out.join("boot.svg")).unwrap().contains("CPU 0"));
    // Drawn once more from what was stored, it is the same.
    fs::remove_file(&file).unwrap();
    let again = Command::new(LAUNCHER).args([OsStr::new("report"), ended.out.as_os_str()]).output().unwrap();
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

#[test]
fn two_runs_are_set_side_by_side() {
    let stress = |operations: u32| {
        let result = serde_json::json!({ "stress": {
            "workload": "pairs", "allocator": "octopod", "cpus": 1, "operations": operations, "elapsed_us": 1_000_000,
            "lost": 0, "doubled": 0, "cycles": { "p50": 1, "p99": 2, "p999": 3, "max": 4 }
        } });
        format!("@octopod {result}")
    };
    let fakes = [100, 300].map(|operations| {
        Fake::new(&say(&[&stress(operations), VERDICT_PASS], &format!("exit {STATUS_PASS}")))
    });
    let [old, new] = fakes.each_ref().map(|fake| fake.run(&["stress"]).out);
    let compare = |arguments: &[&OsStr]| {
        let output = Command::new(LAUNCHER).arg("report").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (status, text) = compare(&[old.as_os_str(), new.join("report.json").as_os_str()]);
    assert_eq!(status, Some(0), "{text}");
    let line = text.lines().find(|line| line.starts_with("pairs, octopod, 1 CPU")).unwrap();
    assert!(line.ends_with("3.00 better"), "{text}");
    assert!(fs::read_to_string(new.join("comparison.html")).unwrap().contains("better"));
    let (status, text) = compare(&[old.as_os_str(), "/nonexistent".as_ref()]);
    assert_eq!((status, text.starts_with("ERROR  cannot read /nonexistent")), (Some(2), true), "{text}");
    assert_eq!(compare(&["a".as_ref(), "b".as_ref(), "c".as_ref()]).0, Some(2));
}
