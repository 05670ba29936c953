//! The verdict of a report as a word and a sentence.

use std::time::Duration;

use indicatif::HumanCount;

use crate::base::{VerdictKind, text};
use crate::report::Report;

/// The work of `work=bench`.
const BENCHMARKS: &str = "Benchmarks";

/// The verdict as a word and a sentence.
pub fn verdict(report: &Report) -> (&'static str, String) {
    let reason = || report.reason.clone().unwrap_or_default();
    match report.verdict {
        VerdictKind::Pass => ("PASS", passed(report)),
        VerdictKind::Fail => ("FAIL", reason()),
        VerdictKind::Panic => ("PANIC", reason()),
        VerdictKind::Timeout => ("TIMEOUT", reason()),
        VerdictKind::Refused => ("REFUSED", reason()),
        VerdictKind::Usage => ("USAGE", reason()),
        VerdictKind::Error => ("ERROR", reason()),
        VerdictKind::Interrupted => ("INTERRUPTED", "ended by a signal".to_owned()),
    }
}

/// A short description of the run.
pub fn what_ran(report: &Report) -> String {
    let words = report.command_line.split_whitespace();
    let work = words.filter_map(|word| word.strip_prefix("work=")).next_back();
    let what = match work {
        Some("boot") => "Boot",
        Some("stress") => "Stress",
        Some("bench") => BENCHMARKS,
        Some("selftest") => "Self-test",
        Some("shell") => "Shell",
        _ => "Run",
    };
    match (&report.boot, &report.host) {
        (Some(boot), _) => {
            let CpuCount { number, noun } = CpuCount::of(boot.kernel.cpus_online);
            format!("{what} on {number} {noun}")
        }
        (None, Some(host)) => format!("{what} with -smp {}", host.smp),
        (None, None) if !report.stress.is_empty() => format!("{what} by threads of the host"),
        (None, None) => what.to_owned(),
    }
}

fn passed(report: &Report) -> String {
    let mut parts = Vec::new();
    if let Some(boot) = &report.boot {
        let CpuCount { number, noun } = CpuCount::of(boot.kernel.cpus_online);
        parts.push(format!("{number} {noun}"));
        if report.stress.is_empty() && report.bench.is_empty() {
            parts.push(format!("online in {}", millis(boot.kernel.entry_to_online_us)));
        }
    }
    if !report.stress.is_empty() {
        let operations = report.stress.iter().map(|stress| stress.operations).fold(0, u64::saturating_add);
        parts.push(format!("{} operations", HumanCount(operations)));
        parts.push("nothing lost".to_owned());
        parts.push("nothing allocated twice".to_owned());
    }
    if !report.bench.is_empty() {
        parts.push(format!("{}, none above its limit", text::count(report.bench.len(), "figure")));
    }
    if parts.is_empty() && what_ran(report) == BENCHMARKS {
        parts.push("no benchmark is selected".to_owned());
    }
    parts.join(", ")
}

struct CpuCount {
    number: u32,
    noun: &'static str,
}

impl CpuCount {
    fn of(number: u32) -> CpuCount {
        CpuCount { number, noun: if number == 1 { "CPU" } else { "CPUs" } }
    }
}

/// A time in milliseconds, with a tenth.
pub fn millis(microseconds: u64) -> String {
    format!("{:.1} ms", Duration::from_micros(microseconds).as_secs_f64() * 1000.0)
}
