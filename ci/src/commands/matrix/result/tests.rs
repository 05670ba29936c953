use super::*;
use crate::commands::matrix::rows::Tier;
use crate::machine::{AccelChoice, accelerator as accel};
use crate::report::expect::Expect;
use crate::report::{Judgement, Report};
use crate::run::Seen;

fn row(name: &str, status: u8) -> Row {
    Row {
        name: name.to_owned(),
        run: "boot".to_owned(),
        with: Vec::new(),
        tier: Tier::Fast,
        qemu: None,
        expect: Expect { status, ..Expect::default() },
        project: None,
    }
}

fn outcome(kind: VerdictKind, reason: Option<&str>, serial: &[&str]) -> Outcome {
    let judgement = Judgement { kind, reason: reason.map(str::to_owned) };
    let report = Report::assemble(judgement, String::new(), None, None, &Seen::default(), Vec::new());
    Outcome {
        status: report.status(),
        report,
        serial: serial.iter().map(|line| line.to_string()).collect(),
        complaint: String::new(),
        registers: None,
        cpus_at: Vec::new(),
        run_dir: Some(PathBuf::from("/somewhere/rows/x")),
        error: None,
        unwritten: Vec::new(),
        in_use: None,
    }
}

fn config() -> MachineConfig {
    MachineConfig { accel: AccelChoice::Tcg, ..MachineConfig::default() }
}

/// One row of each result.
pub(crate) fn results() -> Results {
    let ran = |name: &str, outcome: Outcome| {
        RowResult::of(&row(name, 0), &config(), outcome, Duration::from_millis(1500))
    };
    let too_old = Skip::QemuTooOld { needs: Version::TCG_X2APIC, has: Version::OLDEST_TESTED };
    let rows = vec![
        ran("good", outcome(VerdictKind::Pass, None, &["octopod: up"])),
        ran("bad", outcome(VerdictKind::Fail, Some("2 frames lost"), &["octopod: up <3", "octopod: oh"])),
        ran("dead", outcome(VerdictKind::Error, Some("QEMU did not start: no such machine"), &[])),
        RowResult::not_begun(&row("old", 0), &config(), Ended::Skipped(too_old)),
    ];
    Results {
        schema: SCHEMA,
        origin: OriginReport { commit: Some("0123456789ab".to_owned()), ..OriginReport::default() },
        accel: "tcg",
        qemu_version: "7.2.0".to_owned(),
        tier: Tier::Full,
        shard: Some("2/3".to_owned()),
        interrupted: false,
        time: Duration::from_secs(4),
        counts: Counts::of(&rows),
        rows,
    }
}

fn with_rows(wanted: &[&str]) -> Results {
    let mut results = results();
    results.rows.retain(|row| wanted.contains(&row.name.as_str()));
    results.counts = Counts::of(&results.rows);
    results
}

#[test]
fn four_results_have_four_names() {
    let results = results();
    let found: Vec<_> = results.rows.iter().map(|row| row.ended.name()).collect();
    assert_eq!(found, ["passed", "failed", "not_started", "skipped"]);
    assert_eq!(results.counts, Counts { passed: 1, failed: 1, skipped: 1, not_started: 1 });
}

#[test]
fn the_last_line_counts_a_row_that_did_not_start_as_failed() {
    assert_eq!(results().counts.to_string(), "1 passed, 2 failed, 1 skipped");
    assert_eq!(with_rows(&["good"]).counts.to_string(), "1 passed, 0 failed, 0 skipped");
}

#[test]
fn only_a_matrix_without_failures_ends_with_zero() {
    assert_eq!(with_rows(&["good", "old"]).status(), 0);
    assert_eq!(with_rows(&[]).status(), 0);
    assert_eq!(with_rows(&["good", "bad"]).status(), 1);
    assert_eq!(with_rows(&["good", "dead"]).status(), 1);
    assert_eq!(Results { interrupted: true, ..with_rows(&["good"]) }.status(), 130);
}

#[test]
fn an_expected_failure_passes_and_an_unexpected_pass_fails() {
    let refused = outcome(VerdictKind::Refused, Some("no NX"), &["octopod: no NX"]);
    assert_eq!(Ended::of(&row("a", 5), &refused), Ended::Passed);
    let passed = outcome(VerdictKind::Pass, None, &["octopod: up"]);
    assert_eq!(Ended::of(&row("a", 5), &passed), Ended::Failed(vec!["status 0, not 5".to_owned()]));
}

#[test]
fn a_machine_that_dies_while_the_kernel_speaks_has_failed() {
    let died = outcome(VerdictKind::Error, Some("signal 6 ended QEMU"), &["octopod: up"]);
    assert!(matches!(Ended::of(&row("a", 0), &died), Ended::Failed(_)));
    let silent = outcome(VerdictKind::Error, Some("signal 6 ended QEMU"), &[" "]);
    assert_eq!(Ended::of(&row("a", 0), &silent), Ended::NotStarted("signal 6 ended QEMU".to_owned()));
    // A row cannot expect that: it would say nothing about the kernel.
    assert!(matches!(Ended::of(&row("a", 2), &silent), Ended::NotStarted(_)));
}

#[test]
fn what_the_host_lacks_is_a_skip_with_its_reason() {
    let without = |error: Error| {
        let reason = error.to_string();
        let outcome = Outcome { error: Some(error), ..outcome(VerdictKind::Error, Some(&reason), &[]) };
        match Ended::of(&row("a", 0), &outcome) {
            Ended::Skipped(skip) => skip.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let missing = Error::Missing {
        what: "grub-mkrescue".to_owned(),
        obstacle: "OCTOPOD_NO_INSTALL is set".to_owned(),
        line: "install it".to_owned(),
    };
    assert!(without(missing).starts_with("grub-mkrescue is missing"));
    let host = accel::Host {
        linux_on_x86_64: true,
        virtualisation_flag: None,
        kvm_device: Err("/dev/kvm does not open".to_owned()),
    };
    let unusable = accel::decide(AccelChoice::Kvm, &host).unwrap_err();
    assert!(without(unusable).contains("/dev/kvm does not open"));
    let interrupted = outcome(VerdictKind::Interrupted, Some("interrupted"), &["octopod: up"]);
    assert_eq!(Ended::of(&row("a", 0), &interrupted), Ended::Skipped(Skip::Interrupted));
}

#[test]
fn the_file_for_programs_names_results_and_no_path_of_this_machine() {
    let json: serde_json::Value = serde_json::from_str(&results().to_json()).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["origin"]["commit"], "0123456789ab");
    assert_eq!(json["counts"]["not_started"], 1);
    let row = &json["rows"][1];
    assert_eq!((&row["name"], &row["result"]), (&"bad".into(), &"failed".into()));
    assert_eq!((&row["seconds"], &row["folder"]), (&1.5.into(), &"x".into()));
    assert_eq!(row["wrong"][0], "status 1, not 0");
    assert_eq!(row["command_line"], "cargo run -- boot --accel tcg");
    assert!(!json.to_string().contains("/somewhere"));
}
