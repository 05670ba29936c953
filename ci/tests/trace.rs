//! The trace in a run's folder: it is well formed, has a track for each CPU and for each thread, and is in order within a CPU and across
//! CPUs.

use std::collections::HashMap;

use octopod_ci::{Outcome, launch, parse};
use serde_json::Value;

use crate::launcher::fake::PATIENCE;

/// A slice of a track, in nanoseconds.
#[derive(Clone, Debug)]
struct Slice {
    name: String,
    category: String,
    /// The group of tracks.
    group: u64,
    track: u64,
    begin: i64,
    end: i64,
    arguments: Value,
}

/// What happens on each CPU.
const CPUS: u64 = 1;
/// Which thread each CPU runs.
const RUNNING: u64 = 2;
/// What each thread does.
const THREADS: u64 = 3;

/// Parses the trace of a run by the viewers' rules.
#[derive(Default)]
struct Timeline {
    /// Those of CPUs.
    tracks: Vec<u64>,
    /// Those of threads.
    threads: Vec<u64>,
    slices: Vec<Slice>,
    instants: Vec<Slice>,
    /// The beginnings and the ends of arrows, by their numbers.
    arrows: HashMap<u64, (Vec<Slice>, Vec<Slice>)>,
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
        let mut timeline = Timeline::default();
        let mut last = 0;
        for event in document["traceEvents"].as_array().unwrap() {
            let name = event["name"].as_str().unwrap().to_owned();
            let group = event["pid"].as_u64().unwrap();
            let phase = event["ph"].as_str().unwrap();
            if phase == "M" {
                if name == "thread_name" {
                    let track = event["tid"].as_u64().unwrap();
                    let title = event["args"]["name"].as_str().unwrap();
                    match group {
                        CPUS | RUNNING => assert_eq!(title, format!("CPU {track}")),
                        _ => assert!(
                            title.ends_with(&format!("({track})")) || title == format!("thread {track}"),
                            "{title}"
                        ),
                    }
                    match group {
                        CPUS => timeline.tracks.push(track),
                        RUNNING => assert!(timeline.tracks.contains(&track)),
                        _ => timeline.threads.push(track),
                    }
                }
                continue;
            }
            let begin = ns(&event["ts"]);
            assert!(begin >= last, "{name} at {begin} ns comes after one at {last} ns");
            last = begin;
            let slice = Slice {
                name,
                category: event["cat"].as_str().unwrap().to_owned(),
                group,
                track: event["tid"].as_u64().unwrap(),
                begin,
                end: begin + if phase == "X" { ns(&event["dur"]) } else { 0 },
                arguments: event["args"].clone(),
            };
            let tracks = if group == THREADS { &timeline.threads } else { &timeline.tracks };
            assert!(slice.end >= begin && tracks.contains(&slice.track), "{slice:?}");
            match phase {
                "X" => timeline.slices.push(slice),
                "i" => timeline.instants.push(slice),
                "s" | "f" => {
                    let arrow = timeline.arrows.entry(event["id"].as_u64().unwrap()).or_default();
                    if phase == "s" { arrow.0.push(slice) } else { arrow.1.push(slice) }
                }
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
        let mut open: HashMap<(u64, u64), Vec<&Slice>> = HashMap::new();
        for slice in &self.slices {
            let open = open.entry((slice.group, slice.track)).or_default();
            open.retain(|outer| outer.end > slice.begin);
            let outer = open.last();
            assert!(outer.is_none_or(|outer| slice.end <= outer.end), "{slice:?} reaches out of {outer:?}");
            // A thread does one thing at a time, and so does a CPU, as far as threads are concerned.
            assert!(outer.is_none() || slice.group == CPUS, "{slice:?} while {outer:?}");
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
        let stages: Vec<_> = timeline
            .slices
            .iter()
            .filter(|s| s.group == CPUS && s.track == cpu && s.category == "stage")
            .collect();
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

/// Of two threads that pass turns to each other: the run of each on a CPU, its states, and an arrow to each of its wake-ups.
#[test]
fn a_trace_has_a_track_for_each_thread_with_its_wake_ups() {
    let arguments = ["boot", "--smp", "2", "--append", "work=selftest", "--append", "selftest.parts=threads"];
    let (outcome, timeline) = traced(&arguments);
    assert_eq!(outcome.status, 0, "{:?}", outcome.report.reason);
    timeline.check_nesting();
    let of = |group| timeline.slices.iter().filter(move |slice| slice.group == group);
    let state = |name: &'static str| of(THREADS).filter(move |slice| slice.name == name);

    // What a CPU runs is what the thread does. A switch on another CPU may have been overwritten, and with it the end.
    let mut same = 0;
    for run in of(RUNNING) {
        let thread = run.arguments["thread"].as_u64().unwrap();
        let its =
            state("running").find(|its| its.track == thread && (its.begin, its.end) == (run.begin, run.end));
        same += usize::from(its.is_some_and(|its| its.arguments["cpu"] == run.track));
    }
    assert!(same > 100 && same * 10 >= of(RUNNING).count() * 9, "{same} of {}", of(RUNNING).count());

    // Each arrow has two ends at the time of the wake-up, and leads to a thread that may run from then on.
    assert!(timeline.arrows.len() > 100, "{} arrows", timeline.arrows.len());
    let mut shown = 0;
    for (number, (from, to)) in &timeline.arrows {
        let ([from], [to]) = (&from[..], &to[..]) else { panic!("arrow {number} from {from:?} to {to:?}") };
        assert!(from.begin == to.begin && to.group == THREADS, "arrow {number} from {from:?} to {to:?}");
        let woken = state("runnable").find(|slice| slice.track == to.track && slice.begin == to.begin);
        let Some(woken) = woken else { continue };
        assert!(["woken", "spawned"].iter().any(|since| woken.arguments["since"] == *since), "{woken:?}");
        let after = of(THREADS)
            .find(|slice| slice.track == to.track && slice.begin == woken.end && slice.begin > woken.begin);
        shown += usize::from(after.is_some_and(|after| after.name == "running"));
    }
    assert!(
        shown * 2 > timeline.arrows.len(),
        "{shown} of {} arrows lead to a thread that runs next",
        timeline.arrows.len()
    );
    for waiting in ["parked", "blocked"] {
        assert!(state(waiting).count() > 0, "no thread is {waiting}");
    }

    // The report counts the same over the whole run.
    let cpus = &outcome.report.scheduler;
    assert_eq!(cpus.iter().map(|cpu| cpu.cpu).collect::<Vec<_>>(), [0, 1]);
    for cpu in cpus {
        let switches = cpu.switches;
        assert!(switches.yielded.min(switches.parked).min(switches.blocked).min(switches.own) > 0, "{cpu:?}");
        let depths: u64 = cpu.queue_depth.iter().map(|(_, count)| count).sum();
        // One may be under way.
        assert!(depths + 1 >= switches.all(), "{cpu:?}");
        assert!(cpu.wake_latency_buckets_ns.iter().map(|(_, count)| count).sum::<u64>() > 100, "{cpu:?}");
        let latency = cpu.wake_latency_ns.unwrap();
        assert!(
            [latency.p50, latency.p99, latency.p999, latency.max].is_sorted() && latency.p50 > 0,
            "{cpu:?}"
        );
        assert!(cpu.busy_ns.is_some_and(|busy| busy > 0 && busy <= cpu.elapsed_ns), "{cpu:?}");
    }
    assert!(outcome.report.threads.iter().any(|thread| thread.name == "main" && thread.ran_ns > Some(0)));
}
