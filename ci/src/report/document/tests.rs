use std::collections::BTreeMap;
use std::fs;

use octopod::wire::{
    Cycles, ExpectedCpus, Heap, HeapClass, HeapCpu, Lateness, Pages, Panic, Record, Scheduling, Stress,
    StressCpu, Verdict, WorkStart, ZoneCounts,
};
use serde_json::{Value, json};

use super::*;
use crate::report::sample;
use crate::report::scheduler::SchedulerReport;

fn stress(allocator: &str) -> Stress<String> {
    Stress {
        operations: 30,
        elapsed_us: 1_500_000,
        cycles: Cycles { p50: 1, p99: 2, p999: 3, max: 4 },
        ..sample::stress("pairs", allocator, 2)
    }
}

fn share(cpu: u32, operations: u64) -> StressCpu<String> {
    StressCpu { workload: "pairs".to_owned(), cpu, operations }
}

fn pages(small: u64, large: u64, huge: u64) -> Pages {
    Pages { small, large, huge }
}

fn seen() -> Seen {
    Seen {
        boot: Some(Boot {
            tsc_khz: 1,
            apic_timer_khz: 2,
            entry_to_online_us: 3,
            entry_to_online_ns: 3_000,
            init_to_online_us: 5,
            ..sample::boot(2)
        }),
        work: Some(WorkStart { entry_to_work_us: 4 }),
        memory: Some(Memory { frames_total: 9, metadata_bytes: 8, free_frames_before: 7 }),
        regions: vec![MemoryRegion { start: 4096, end: 1 << 52, owner: "usable".to_owned() }],
        page_tables: Some(PageTables {
            tables: 4,
            text: pages(1, 0, 0),
            constants: pages(2, 0, 0),
            data: pages(3, 4, 5),
            device: pages(6, 0, 0),
            walk_us: 7,
        }),
        stress: vec![stress("octopod"), stress("locked")],
        latencies: vec![vec![(2, 15)], vec![]],
        shares: vec![vec![share(1, 20), share(0, 10)], vec![share(0, 1), share(1, 2)]],
        verdict: Some(Verdict { pass: true, reason: None, free_frames_after: 7 }),
        ..Seen::default()
    }
}

fn host() -> HostReport {
    HostReport {
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        boot_protocol: "pvh".to_owned(),
        emulator: "qemu".to_owned(),
        emulator_version: "10.0.2".to_owned(),
        qemu_version: Some("10.0.2".to_owned()),
        accel: "tcg".to_owned(),
        machine: "q35".to_owned(),
        cpu: "qemu64".to_owned(),
        smp: "2".to_owned(),
        memory_bytes: 1 << 27,
        qemu_start_to_online_ms: Some(150),
        wall_ms: 900,
    }
}

fn assembled(kind: VerdictKind, seen: &Seen) -> Value {
    let judgement = Judgement { kind, reason: None };
    let kernel = KernelReport { variant: "kernel".to_owned(), image_bytes: 4096, compressed_bytes: None };
    let report =
        Report::assemble(judgement, "work=stress".to_owned(), Some(host()), Some(kernel), seen, vec![]);
    serde_json::from_str(&report.to_json()).unwrap()
}

#[test]
fn the_report_has_the_fields_of_schema_2() {
    let report = assembled(VerdictKind::Pass, &seen());
    assert_eq!(report["schema"], 2);
    assert_eq!(report["verdict"], "pass");
    assert_eq!(report["reason"], Value::Null);
    assert_eq!(report["boot"]["accel"], "tcg");
    assert_eq!(report["boot"]["cpus_online"], 2);
    assert_eq!(report["boot"]["entry_to_work_us"], 4);
    assert_eq!(report["memory"]["frames_total"], 9);
    assert_eq!(report["memory"]["free_frames_after"], 7);
    assert_eq!(
        report["memory"]["regions"],
        json!([{ "start": 4096, "end": 4_503_599_627_370_496u64, "owner": "usable" }])
    );
    assert_eq!(report["memory"]["page_tables"]["data"], json!({ "small": 3, "large": 4, "huge": 5 }));
    assert_eq!(report["kernel"]["image_bytes"], 4096);
    assert_eq!(report["host"]["qemu_start_to_online_ms"], 150);
    assert_eq!(
        report["stress"][0],
        json!({
            "workload": "pairs", "kind": "frames", "allocator": "octopod", "cpus": 2, "operations": 30, "allocations": 4, "refused": 2, "unsupported": 1, "seconds": 1.5, "lost": 0,
            "double_allocated": 0, "rounds": 0, "failed_allocations": 0, "offline_cycles": 0, "scheduling": null, "timed": "pair", "cycles": { "p50": 1, "p99": 2, "p999": 3, "max": 4 }, "histogram": [[2, 15]], "fragmentation": [],
            "per_cpu_operations": [10, 20]
        })
    );
}

#[test]
fn shares_go_to_the_run_that_they_came_before() {
    let mut seen = Seen::default();
    // The same workload on one CPU, then on two, as where numbers of CPUs are compared.
    for record in [
        Record::StressCpu(share(0, 7)),
        Record::Stress(Stress { cpus: 1, ..stress("octopod") }),
        Record::StressCpu(share(0, 10)),
        Record::StressCpu(share(1, 20)),
        Record::Stress(stress("octopod")),
    ] {
        seen.take(record);
    }
    let report = assembled(VerdictKind::Pass, &seen);
    assert_eq!(report["stress"][0]["per_cpu_operations"], json!([7]));
    assert_eq!(report["stress"][1]["per_cpu_operations"], json!([10, 20]));
}

#[test]
fn lateness_is_by_cpu_whatever_records_it_came_in() {
    let part = |cpu, buckets: &[(u64, u64)]| {
        Record::Lateness(Lateness { cpu, buckets_ns: buckets.iter().copied().collect() })
    };
    let mut seen = Seen::default();
    for record in [part(0, &[(1023, 5)]), part(2, &[(1023, 1), (2047, 2)]), part(2, &[(1 << 40, 1)])] {
        seen.take(record);
    }
    let report = assembled(VerdictKind::Pass, &seen);
    assert_eq!(
        report["lateness"],
        json!([
            { "cpu": 0, "buckets_ns": [[1023, 5]] },
            { "cpu": 2, "buckets_ns": [[1023, 1], [2047, 2], [1_099_511_627_776u64, 1]] }
        ])
    );
}

#[test]
fn figures_of_the_program_are_not_rounded_and_the_last_of_a_name_counts() {
    let figure = |name: &str, total, count| {
        Record::Figure(Figure { name: name.to_owned(), unit: "ns".to_owned(), total, count })
    };
    let mut seen = Seen::default();
    for record in [figure("a", 7, 2), figure("b", u64::MAX, 1), figure("a", 9, 2)] {
        seen.take(record);
    }
    let report = assembled(VerdictKind::Pass, &seen);
    assert_eq!(report["figures"][0], json!({ "name": "a", "unit": "ns", "value": 4.5 }));
    assert_eq!(report["figures"].as_array().unwrap().len(), 2);
}

#[test]
fn a_run_that_said_nothing_still_has_a_report() {
    let report = assembled(VerdictKind::Timeout, &Seen::default());
    assert_eq!((&report["verdict"], &report["boot"]), (&json!("timeout"), &Value::Null));
    assert_eq!((&report["cpus"], &report["stress"]), (&json!([]), &json!([])));
}

#[test]
fn panic_records_are_kept() {
    let panic = Panic { cpu: 3, message: "oh".to_owned(), ..Panic::default() };
    let report = assembled(VerdictKind::Panic, &Seen { panic: Some(panic), ..Seen::default() });
    let expected = json!({
        "cpu": 3, "message": "oh", "location": null, "called_from": null, "requested": false, "stage": null,
        "backtrace": [], "cpus": [], "contexts": [], "threads": [],
    });
    assert_eq!(report["panic"], expected);
}

#[test]
fn each_verdict_has_its_status() {
    use VerdictKind::*;
    let statuses = [Pass, Fail, Usage, Error, Panic, Timeout, Refused, Interrupted].map(VerdictKind::status);
    assert_eq!(statuses, [0, 1, 2, 2, 3, 4, 5, 130]);
}

#[test]
fn a_report_replaces_the_one_before_in_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let judgement = || Judgement { kind: VerdictKind::Pass, reason: None };
    for line in ["a", "b"] {
        let report = Report::assemble(judgement(), line.to_owned(), None, None, &Seen::default(), vec![]);
        report.write(&path).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap().contains("\"command_line\": \"b\""));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

/// A report in which every field has a value.
fn full() -> Report {
    let mut report = sample::hostile();
    let word = || "x".to_owned();
    let mut memory = seen();
    memory.zones = [false, true].map(zone_counts).to_vec();
    memory.heap = Some(Heap::default());
    memory.heap_classes = vec![HeapClass::default()];
    memory.heap_cpus = vec![HeapCpu { cached: [(8, 1)].into_iter().collect(), ..HeapCpu::default() }];
    let assembled = |seen: &Seen| {
        let judgement = Judgement { kind: VerdictKind::Pass, reason: None };
        Report::assemble(judgement, String::new(), Some(host()), None, seen, Vec::new())
    };
    let other = assembled(&Seen { frame_counts: vec![FrameCounts::default()], ..memory });
    (report.host, report.memory, report.heap, report.boot) =
        (other.host, other.memory, other.heap, other.boot);
    report.stress.iter_mut().for_each(|one| one.scheduling = Some(Scheduling::default()));
    report.origin = OriginReport {
        version: word(),
        commit: Some(word()),
        date: word(),
        host: word(),
        repeat: Some(word()),
        seed: Some(word()),
        emulator_command: Some(word()),
    };
    let boot = report.boot.as_mut().unwrap();
    boot.kernel.cpus_expected =
        Some(ExpectedCpus { by_tables: 2, disabled: 0, by_cpuid: 2, unreachable: 0, limit: Some(word()) });
    report.kernel = Some(KernelReport { variant: word(), image_bytes: 1, compressed_bytes: Some(1) });
    (report.bench[0].limit, report.bench[0].goal, report.bench[0].linux) = (Some(1.0), Some(1.0), Some(1.0));
    report.clock = Some(Clock {
        counter: word(),
        unstable_reason: Some(word()),
        skew_cycles: 1,
        skew_ns: 1,
        warps: 1,
        skew_samples: 1,
        skew_cpus: 1,
        drift_ppm: Some(1),
        timer_mode: word(),
    });
    report.timers = Some(Timers {
        mode: word(),
        cpus: 1,
        timers: 1,
        lateness_ns: Cycles::default(),
        lateness_histogram: Default::default(),
    });
    report.threads = vec![ThreadRow {
        id: 1,
        name: word(),
        state: word(),
        cpu: 1,
        affinity: word(),
        stack_bytes: Some(1),
        stack_used_bytes: Some(1),
        is_own_use: true,
        ran_ns: Some(1),
    }];
    report.scheduler = vec![SchedulerReport {
        cpu: 1,
        elapsed_ns: 1,
        busy_ns: Some(1),
        switches: Default::default(),
        stolen: 1,
        wake_latency_ns: Some(Cycles::default()),
        wake_latency_buckets_ns: vec![(255, 1)],
        queue_depth: vec![(0, 1)],
    }];
    report.facts = vec![Fact { subject: word(), name: word(), value: Some(1), text: Some(word()) }];
    report.figures = vec![FigureReport { name: word(), unit: word(), value: 1.0 }];
    report.tests = vec![TestReport { number: 1, passed: true, timed_out: false, us: Some(7) }];
    let warning = &mut report.warnings[0];
    (warning.table, warning.address, warning.offset) = (Some(word()), Some(word()), Some(1));
    report.trace = Some(TraceReport { cpus: 1, events: 1, lost: 0 });
    report
}

fn zone_counts(after: bool) -> ZoneCounts<String> {
    let (zone, free_by_order) = ("low".to_owned(), [1; octopod::wire::ORDERS]);
    ZoneCounts { after, node: 0, zone, frames_total: 40, free_frames: 19, free_by_order }
}

/// The paths of a value's fields, and whether each has a value somewhere. A list of objects has `[]` behind its name.
fn fields(value: &Value, path: &str, found: &mut BTreeMap<String, bool>) {
    let mut note = |has_value| *found.entry(path.to_owned()).or_default() |= has_value;
    match value {
        Value::Object(all) => {
            for (name, value) in all {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                fields(value, &path, found);
            }
        }
        Value::Array(all) if all.iter().any(Value::is_object) => {
            all.iter().for_each(|value| fields(value, &format!("{path}[]"), found));
        }
        Value::Array(all) => note(!all.is_empty()),
        value => note(!value.is_null()),
    }
}

#[test]
fn every_field_is_documented_and_nothing_else() {
    let mut found = BTreeMap::new();
    fields(&serde_json::from_str(&full().to_json()).unwrap(), "", &mut found);
    let empty: Vec<_> = found.iter().filter(|(_, has_value)| !**has_value).collect();
    assert!(empty.is_empty(), "without a value in `full`, what is in them is not seen: {empty:?}");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/report.md");
    let text = fs::read_to_string(file).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let documented: Vec<_> =
        rows.map(|(path, meaning)| (path.to_owned(), meaning.trim_end_matches(['|', ' ']))).collect();
    let without: Vec<_> =
        found.keys().filter(|path| !documented.iter().any(|(known, _)| known == *path)).collect();
    let unknown: Vec<_> = documented.iter().filter(|(path, _)| !found.contains_key(path)).collect();
    assert!(
        without.is_empty() && unknown.is_empty(),
        "not documented: {without:#?}\ndocumented, and no field: {unknown:#?}"
    );
    assert!(
        documented.iter().all(|(_, meaning)| meaning.ends_with('.')),
        "each has a sentence: {documented:#?}"
    );
    let mut paths: Vec<_> = documented.iter().map(|(path, _)| path).collect();
    paths.sort_unstable();
    assert!(paths.windows(2).all(|two| two[0] != two[1]), "one is documented twice: {paths:?}");
    assert!(text.contains(&format!("schema {SCHEMA}")), "{file}");
}
