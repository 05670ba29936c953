//! The trace in a run's folder: it is well formed, has a track for each CPU, and is in order within a CPU and across CPUs.

use std::collections::HashMap;

use octopod_ci::{Outcome, launch, parse};
use serde_json::Value;

use crate::launcher::fake::PATIENCE;

/// A slice of a track, in nanoseconds.
#[derive(Clone, Debug)]
struct Slice {
    name: String,
    category: String,
    track: u64,
    begin: i64,
    end: i64,
    arguments: Value,
}

/// Parses the trace of a run by the viewers' rules.
struct Timeline {
    tracks: Vec<u64>,
    slices: Vec<Slice>,
    instants: Vec<Slice>,
    skew_ns: i64,
    lost: u64,
}

fn traced(arguments: &[&str]) -> (Outcome, Timeline) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let common = ["--accel", "tcg", "--trace", "--out", out.to_str().unwrap()];
    let mut config = parse(&[arguments, &common].concat()).unwrap().0;
    config.run.limit = PATIENCE;
    let outcome = launch(&config);
    let path = out.join("trace.json");
    let text =
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{error}: {:?}", outcome.report.reason));
    (outcome, Timeline::of(&serde_json::from_str(&text).unwrap()))
}

/// To the nanosecond, as the format's microseconds are written.
fn ns(value: &Value) -> i64 {
    (value.as_f64().unwrap() * 1000.0).round() as i64
}

impl Timeline {
    fn of(document: &Value) -> Timeline {
        let mut timeline =
            Timeline { tracks: Vec::new(), slices: Vec::new(), instants: Vec::new(), skew_ns: 0, lost: 0 };
        let mut last = 0;
        for event in document["traceEvents"].as_array().unwrap() {
            let name = event["name"].as_str().unwrap().to_owned();
            assert_eq!(event["pid"], 1);
            let phase = event["ph"].as_str().unwrap();
            if phase == "M" {
                if name == "thread_name" {
                    let track = event["tid"].as_u64().unwrap();
                    assert_eq!(event["args"]["name"], format!("CPU {track}"));
                    timeline.tracks.push(track);
                }
                continue;
            }
            let begin = ns(&event["ts"]);
            assert!(begin >= last, "{name} at {begin} ns comes after one at {last} ns");
            last = begin;
            let slice = Slice {
                name,
                category: event["cat"].as_str().unwrap().to_owned(),
                track: event["tid"].as_u64().unwrap(),
                begin,
                end: begin + if phase == "X" { ns(&event["dur"]) } else { 0 },
                arguments: event["args"].clone(),
            };
            assert!(slice.end >= begin && timeline.tracks.contains(&slice.track), "{slice:?}");
            match phase {
                "X" => timeline.slices.push(slice),
                "i" => timeline.instants.push(slice),
                other => panic!("phase {other}"),
            }
        }
        let other = &document["otherData"];
        timeline.skew_ns = other["skew_ns"].as_f64().unwrap_or(0.0).ceil() as i64;
        timeline.lost = other["lost_events"].as_u64().unwrap();
        timeline
    }

    /// Slices of a track lie beside or inside each other, or a viewer would draw them askew.
    fn check_nesting(&self) {
        let mut open: HashMap<u64, Vec<&Slice>> = HashMap::new();
        for slice in &self.slices {
            let open = open.entry(slice.track).or_default();
            open.retain(|outer| outer.end > slice.begin);
            let outer = open.last();
            assert!(outer.is_none_or(|outer| slice.end <= outer.end), "{slice:?} reaches out of {outer:?}");
            open.push(slice);
        }
    }

    fn named(&self, name: &str) -> Vec<&Slice> {
        self.slices.iter().chain(&self.instants).filter(|slice| slice.name == name).collect()
    }
}

#[test]
fn a_trace_is_well_formed_and_in_order_across_cpus() {
    let parts = ["selftest.parts=shootdown,calls", "selftest.rounds=8"];
    let arguments =
        ["boot", "--smp", "4", "--append", "work=selftest", "--append", parts[0], "--append", parts[1]];
    let (outcome, timeline) = traced(&arguments);
    assert_eq!(outcome.status, 0, "{:?}", outcome.report.reason);
    assert_eq!(timeline.tracks, [0, 1, 2, 3]);
    timeline.check_nesting();
    let told = outcome.report.trace.unwrap();
    assert_eq!((told.cpus, told.lost), (4, timeline.lost));
    assert!(told.events > 100, "{told:?}");

    // The boot from its first stage to its last, and each CPU's way up.
    assert_eq!(timeline.named("loader")[0].track, 0);
    assert_eq!(timeline.named("verdict").len(), 1);
    for cpu in 1..4 {
        let stages: Vec<_> =
            timeline.slices.iter().filter(|s| s.track == cpu && s.category == "stage").collect();
        let names: Vec<_> = stages.iter().map(|slice| slice.name.as_str()).collect();
        let expected =
            ["sipi_sent", "real_mode", "protected_mode", "long_mode", "gs", "idt", "apic", "timer", "online"];
        assert_eq!(names, expected);
    }
    assert!(timeline.slices.iter().any(|slice| slice.category == "interrupt" && slice.name == "call"));

    // A CPU flushes after another one has begun to ask for it, by whichever CPU's clock, and while that one waits. An interrupt that the
    // CPU takes late, when it has covered the generation by itself, comes after the end.
    let shootdowns = timeline.named("shootdown");
    let mut seen = 0;
    for flush in timeline.named("tlb flush") {
        assert!(flush.arguments["generation"].as_u64() > Some(0), "{flush:?}");
        let begun = shootdowns.iter().filter(|shootdown| shootdown.begin - timeline.skew_ns <= flush.begin);
        let within = begun.clone().any(|shootdown| flush.end <= shootdown.end + timeline.skew_ns);
        // The event of the request may have been overwritten.
        let is_lost = timeline.lost > 0;
        assert!(begun.count() > 0 || is_lost, "{flush:?} before all of {shootdowns:#?}");
        seen += usize::from(within && flush.track != 0);
    }
    assert!(seen > 0, "no CPU was seen to flush for another one");
}

#[test]
fn a_panic_leaves_a_trace_and_the_last_events_of_each_cpu() {
    let (outcome, timeline) = traced(&["boot", "--smp", "4", "--inject", "panic_cpu3"]);
    assert_eq!(outcome.status, 3);
    assert_eq!(timeline.tracks, [0, 1, 2, 3]);
    timeline.check_nesting();
    assert_eq!(timeline.named("work").len(), 1);
    let panic = outcome.report.panic.unwrap();
    assert_eq!(panic.cpus.len(), 4);
    for cpu in &panic.cpus {
        assert!((1..=32).contains(&cpu.events.len()), "{cpu:?}");
        assert!(
            cpu.events
                .iter()
                .all(|event| event.us_before.is_some_and(|us| us.abs() < 120e6) && !event.text.is_empty()),
            "{cpu:?}"
        );
    }
}
