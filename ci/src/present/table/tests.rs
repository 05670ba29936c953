//! The text of a report fits into 80 columns, and has the expected contents.

use octopod::wire::{Boot, Cycles, Stress, Verdict};

use super::*;
use crate::base::VerdictKind;
use crate::report::headline::verdict;
use crate::report::{Judgement, sample};
use crate::run::Seen;

fn report(workloads: &[&str], operations: u64) -> Report {
    let boot = Boot {
        clock_source: "pm_timer".to_owned(),
        entry_to_online_us: 12_345,
        entry_to_online_ns: 12_345_000,
        ..sample::boot(8)
    };
    let stress = |name: &&str| Stress {
        operations,
        elapsed_us: 1_000_000,
        cycles: Cycles { p50: 120, p99: 4_321, p999: 99_999, max: 123_456_789 },
        ..sample::stress(name, "octopod", 8)
    };
    let seen = Seen {
        boot: Some(boot),
        stress: workloads.iter().map(stress).collect(),
        verdict: Some(Verdict { pass: true, reason: None, free_frames_after: 0 }),
        ..Seen::default()
    };
    let judgement = Judgement { kind: VerdictKind::Pass, reason: None };
    Report::assemble(judgement, String::new(), None, None, &seen, Vec::new())
}

#[test]
fn allocators_stand_side_by_side() {
    let mut report = report(&["pairs", "pairs", "storm", "storm"], 7_777_000);
    for (index, result) in report.stress.iter_mut().enumerate() {
        result.allocator = ["octopod", "locked"][index % 2].to_owned();
        result.cpus = [1, 1, 8, 8][index];
    }
    let lines = summary(&report);
    let words: Vec<Vec<&str>> = lines[2..].iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["workload", "allocator", "1", "8"]);
    assert_eq!(words[1], ["pairs", "octopod", "7.8M"]);
    assert_eq!(words[4], ["locked", "7.8M"]);
    assert_eq!(words.len(), 5);
}

/// By default workloads run on an allocator, on a heap and with a policy, each once.
#[test]
fn policies_are_compared_where_a_workload_ran_with_several() {
    let mut report = report(&["pairs", "hackbench"], 1);
    report.stress[1].allocator = "fair".to_owned();
    let heads = |report: &Report, at: usize| -> Vec<String> {
        summary(report)[at].split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(heads(&report, 1)[..2], ["workload", "operations"]);
    for (result, policy) in report.stress.iter_mut().zip(["fair", "round_robin"]) {
        result.workload = "hackbench".to_owned();
        result.allocator = policy.to_owned();
        result.kind = Some("scheduler".to_owned());
    }
    assert_eq!(heads(&report, 2)[..2], ["workload", "policy"]);
}

#[test]
fn the_widest_comparison_fits_a_terminal() {
    let counts = [1, 2, 4, 8, 16, 1024, 2048, 4096];
    assert_eq!(counts.len(), octopod::stress::parameters::MAX_CPU_COUNTS);
    let names: Vec<&str> = counts.iter().flat_map(|_| ["fragmentation", "fragmentation"]).collect();
    let mut report = report(&names, 99_949_999_000_000);
    for (index, result) in report.stress.iter_mut().enumerate() {
        result.allocator = ["octopod", "magazine"][index % 2].to_owned();
        result.cpus = counts[index / 2];
    }
    let lines = summary(&report);
    assert_eq!(lines.len(), 5, "{lines:#?}");
    assert!(lines.iter().all(|line| line.chars().count() <= layout::COLUMNS.into()), "{lines:#?}");
    assert_eq!(lines[3].matches("99.9T").count(), counts.len(), "{lines:#?}");
}

#[test]
fn a_fragmentation_score_has_a_line() {
    let mut report = report(&["churn5_50", "pairs"], 1);
    report.stress[0].fragmentation = vec![10.0, 2.5, 50.0, 47.3];
    let lines = summary(&report);
    let last: Vec<&str> = lines.last().unwrap().split_whitespace().collect();
    assert_eq!(last, ["churn5_50", "octopod", "8", "3", "10.0", "2.5", "50.0", "47.3"], "{lines:#?}");
}

#[test]
fn the_verdict_says_what_was_proved() {
    let (word, rest) = verdict(&report(&["pairs"], 12_345_678));
    assert_eq!(word, "PASS");
    assert_eq!(rest, "8 CPUs, 12,345,678 operations, nothing lost, nothing allocated twice");
    assert_eq!(verdict(&report(&[], 0)).1, "8 CPUs, online in 12.3 ms");
}

#[test]
fn the_table_fits_a_terminal() {
    let lines = summary(&report(&["pairs", "producer_consumer"], 9_876_543_210_987));
    assert_eq!(lines[0], "8 of 8 CPUs online in 12.3 ms, x2apic and pm_timer clock");
    assert!(lines.iter().all(|line| line.chars().count() <= layout::COLUMNS.into()), "{lines:#?}");
    let cells: Vec<&str> = lines[4].split_whitespace().rev().take(2).collect();
    assert_eq!(cells, ["1", "2"], "{lines:#?}");
    let cells: Vec<&str> = lines[7].split_whitespace().rev().take(7).collect();
    assert_eq!(cells, ["123M", "100k", "4.3k", "120", "free", "and", "allocation"], "{lines:#?}");
}

#[test]
fn cycles_are_short_and_not_rounded_into_a_fourth_digit() {
    let all = [0, 999, 1_000, 99_949, 99_950, 999_499, 999_500, 123_456_789].map(short);
    assert_eq!(all, ["0", "999", "1.0k", "99.9k", "100k", "999k", "1.0M", "123M"]);
}
