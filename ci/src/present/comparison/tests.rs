//! The comparison of two stored runs.

use std::path::Path;

use scraper::{Html, Selector};

use super::page::page;
use super::text::lines;
use crate::report::Report;
use crate::report::comparison::*;
use crate::report::read::read;
use crate::report::sample::{hostile, report, seen};

/// An old run, and a new one that is faster in `pairs`, slower in `storm`, and has lost an event and a workload.
fn two() -> (Report, Report) {
    let old = report(&seen(2, &["pairs", "storm", "remote"], &["octopod"]));
    let mut new = report(&seen(2, &["pairs", "storm"], &["octopod"]));
    for result in &mut new.stress {
        result.operations =
            if result.workload == "pairs" { result.operations * 2 } else { result.operations / 2 };
    }
    if let Some(events) = &mut new.events {
        events.spurious = 3;
    }
    (old, new)
}

fn row<'a>(groups: &'a [Group], group: &str, name: &str) -> &'a Row {
    let group = groups.iter().find(|found| found.name == group).unwrap();
    group.rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{name}: {group:?}"))
}

#[test]
fn what_is_faster_slower_new_or_gone_is_said() {
    let (old, new) = two();
    let groups = groups(&old, &new);
    let rate = |name| row(&groups, "operations per second", name);
    assert_eq!(
        (rate("pairs, octopod, 2 CPUs").ratio(), rate("pairs, octopod, 2 CPUs").word()),
        (Some(2.0), "better")
    );
    assert_eq!(rate("storm, octopod, 1 CPU").word(), "worse");
    assert_eq!(rate("remote, octopod, 1 CPU").word(), "gone");
    assert_eq!(row(&groups, "p99 of latency", "pairs, octopod, 2 CPUs").word(), "");
    // Comparable rows come first, whichever run is the new one.
    for (old, new) in [(&old, &new), (&new, &old)] {
        let rates = crate::report::comparison::groups(old, new)
            .into_iter()
            .find(|group| group.name == "operations per second");
        let in_both: Vec<_> = rates.unwrap().rows.iter().map(|row| row.ratio().is_some()).collect();
        assert!(in_both.is_sorted_by(|before, after| before >= after) && in_both.contains(&false));
    }
    let events = &groups.iter().find(|group| group.name == "events").unwrap().rows;
    let changed: Vec<_> =
        events.iter().map(|row| (row.name.as_str(), row.old, row.new, row.word())).collect();
    assert_eq!(changed, [("spurious", Some(0.0), Some(3.0), "changed")]);
}

#[test]
fn a_tenth_is_no_change() {
    let row = |old, new| Row::of("x", Some(old), Some(new), Better::Less).change();
    assert_eq!(row(100.0, 109.0), Change::Same);
    assert_eq!(row(100.0, 91.0), Change::Same);
    assert_eq!(row(100.0, 112.0), Change::Worse);
    assert_eq!(row(100.0, 89.0), Change::Better);
    assert_eq!(row(0.0, 0.0), Change::Same);
    assert_eq!(row(0.0, 1.0), Change::Worse);
}

#[test]
fn runs_that_were_stored_are_read_and_fit_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = two();
    let paths = [("old", old), ("new", new)].map(|(name, report)| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        report.write(&path.join("report.json")).unwrap();
        path
    });
    // A folder and a file are the same run.
    let (old, new) = (read(&paths[0]).unwrap(), read(&paths[1].join("report.json")).unwrap());
    for lines in [lines(&old, &new), lines(&hostile(), &new)] {
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        assert!(lines.iter().all(|line| !line.contains(|c: char| c.is_control())), "{lines:#?}");
    }
    let lines = lines(&old, &new);
    let pairs: Vec<_> = lines.iter().filter(|line| line.starts_with("pairs, octopod, 2 CPUs")).collect();
    let words: Vec<&str> = pairs[0].split_whitespace().skip(4).collect();
    assert_eq!(words, ["4,000", "8,000", "2.00", "better"]);
}

#[test]
fn the_page_of_two_is_whole() {
    let (old, mut new) = two();
    new.origin.commit = Some("0123456789ab".to_owned());
    new.origin.version = "9.8.7".to_owned();
    new.origin.repeat = Some("cargo run -- stress --seed=0x1f".to_owned());
    let with_origins = page(&old, &new).unwrap();
    for part in [
        "<dd>9.8.7, commit 0123456789ab</dd>",
        "<code>cargo run -- stress --seed=0x1f</code>",
        "old: Stress on",
    ] {
        assert!(with_origins.contains(part), "{part}: {with_origins}");
    }
    for page in [page(&old, &new), page(&hostile(), &new)].map(Result::unwrap) {
        assert!(Html::parse_document(&page).errors.is_empty());
        assert!(!page.contains("<script") && !page.contains("http"));
        assert!(page.contains("pairs, octopod, 2 CPUs") && page.contains("better"));
    }
    // Each picture of either run, and of the one that has it not that there is none.
    let boot_only = report(&seen(2, &[], &[]));
    let page = page(&old, &boot_only).unwrap();
    let html = Html::parse_document(&page);
    let count = |selector: &str| html.select(&Selector::parse(selector).unwrap()).count();
    let [of_old, of_new] =
        [&old, &boot_only].map(|report| crate::present::pictures::all(report).unwrap().len());
    assert!(of_new < of_old);
    assert_eq!(count(".pair figure"), 2 * of_old);
    assert_eq!(count(".pair figure svg"), of_old + of_new);
}

fn refusal(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("report.json"), text).unwrap();
    read(folder.path()).unwrap_err().to_string()
}

#[test]
fn what_cannot_be_read_says_why() {
    assert!(refusal("{\"schema\": 3}").ends_with("its schema is 3, this launcher reads 1 to 2"));
    assert!(refusal("{\"schema\": 1}").contains("it is no report of a run: missing field `verdict`"));
    assert!(refusal("7").contains("it is no report of a run: invalid type"));
    assert!(refusal("tentacles").contains("it is no JSON: expected"));
    assert!(refusal("").contains("it is cut off: EOF"));
    let whole = report(&seen(2, &["pairs"], &["octopod"])).to_json();
    assert!(refusal(&whole[..whole.len() / 2]).contains("it is cut off: EOF"));
    let folder = tempfile::tempdir().unwrap();
    for nowhere in [Path::new("/nonexistent"), folder.path()] {
        let error = read(nowhere).unwrap_err();
        assert_eq!(error.verdict().status(), 2);
        assert!(error.to_string().starts_with(&format!("no run at {}", nowhere.display())), "{error}");
    }
    std::fs::create_dir(folder.path().join("report.json")).unwrap();
    assert!(read(folder.path()).unwrap_err().to_string().starts_with("cannot read "));
}

#[test]
fn a_report_of_schema_1_is_read_by_its_old_names() {
    let mut new = two().0;
    new.stress[0].double_allocated = 3;
    let mut text = new.to_json().replace("\"schema\": 2", "\"schema\": 1");
    let names = [
        ("boot_protocol", "door"),
        ("double_allocated", "doubled"),
        ("free_frames_before", "frames_free_before"),
        ("free_frames_after", "frames_free_after"),
        ("zones", "arenas"),
        ("invalid_frees", "double_free_caught"),
        ("ipi_call_timeouts", "unanswered_requests"),
        ("unexpected_nmis", "nmis"),
        ("late_cpus_parked", "cpus_sent_away"),
    ];
    for (name, old) in names {
        text = text.replace(&format!("\"{name}\":"), &format!("\"{old}\":"));
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("report.json"), text).unwrap();
    let read = read(folder.path()).unwrap();
    assert_eq!(read.schema, 1);
    assert_eq!((&read.stress, &read.events), (&new.stress, &new.events));
    let memory =
        |report: &Report| report.memory.as_ref().map(|memory| (memory.kernel, memory.free_frames_after));
    assert_eq!(memory(&read), memory(&new));
}

#[test]
fn a_report_from_before_a_field_was_added_is_read() {
    let mut old = serde_json::to_value(two().0).unwrap();
    for field in ["bench", "interrupts", "warnings"] {
        old.as_object_mut().unwrap().remove(field);
    }
    old["events"].as_object_mut().unwrap().remove("spurious");
    old["stress"][0].as_object_mut().unwrap().remove("histogram");
    old["memory"].as_object_mut().unwrap().remove("regions");
    let read: Report = serde_json::from_value(old).unwrap();
    assert_eq!(read.stress[0].histogram, []);
    assert_eq!(read.cpus, two().0.cpus);
}
