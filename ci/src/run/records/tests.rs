use octopod::wire::{
    BUCKETS_IN_RECORD, BacktraceFrame, BootStage, BootStages, COUNTS_IN_RECORD, Latency, MAX_RECORD_BYTES,
    Nonce, RecordFrame, TestPhase,
};

use super::*;

/// Without its line feed.
fn line(record: &Record<String>) -> String {
    let frame = RecordFrame { tag: Nonce::new(u64::MAX).map(|nonce| (nonce, u32::MAX)) };
    format!("{frame}{}\r", serde_json::to_string(record).unwrap())
}

#[test]
fn progress_of_as_many_cpus_as_there_are_fits_in_a_record() {
    let sent = line(&Record::Progress(Progress {
        workload: "n".repeat(60),
        allocator: "n".repeat(60),
        cpus: u32::MAX,
        index: u32::MAX,
        of: u32::MAX,
        elapsed_ms: u64::MAX,
        budget_ms: u64::MAX,
        operations: u64::MAX,
        lanes: [u64::MAX; octopod::wire::LANES_IN_RECORD].into_iter().collect(),
    }));
    let late = line(&Record::Lateness(Lateness {
        cpu: u32::MAX,
        buckets_ns: [(u64::MAX, u64::MAX); BUCKETS_IN_RECORD].into_iter().collect(),
    }));
    let began_us = BootStage::ALL.iter().map(|stage| (stage.name().to_owned(), u64::MAX)).collect();
    let stages = line(&Record::BootStages(BootStages { began_us }));
    for sent in [sent, late, stages] {
        assert!(sent.len() < MAX_RECORD_BYTES, "{sent}");
    }
}

#[test]
fn the_longest_table_of_interrupts_fits_in_a_record() {
    let sent = line(&Record::Interrupts(Interrupts {
        vector: 255,
        name: "n".repeat(60),
        first_cpu: u32::MAX,
        counts: [u64::MAX; COUNTS_IN_RECORD].into_iter().collect(),
    }));
    assert!(sent.len() < MAX_RECORD_BYTES, "{sent}");
}

#[test]
fn the_largest_counts_of_memory_fit_in_a_record() {
    let zone = ZoneCounts {
        after: false,
        node: u32::MAX,
        zone: "normal".to_owned(),
        frames_total: u64::MAX,
        free_frames: u64::MAX,
        free_by_order: [u64::MAX; octopod::wire::ORDERS],
    };
    let of_most = u64::MAX;
    let counts = FrameCounts {
        cpu: u32::MAX,
        node: u32::MAX,
        refills: of_most,
        flushes: of_most,
        drains: of_most,
        failures: of_most,
        run_allocs: of_most,
        run_frees: of_most,
        block_allocs: of_most,
        block_frees: of_most,
        bulk_allocs: of_most,
        bulk_frees: of_most,
        placed_allocs: of_most,
    };
    let heap = Heap {
        frames_held: of_most,
        metadata_frames: of_most,
        table_bytes: of_most,
        large_objects: of_most,
        large_bytes: of_most,
        large_frames: of_most,
    };
    let class = HeapClass {
        node: u32::MAX,
        object_bytes: of_most,
        slabs: of_most,
        slab_bytes: of_most,
        live: of_most,
        cached: of_most,
        free: of_most,
        internal_waste_bytes: of_most,
        slab_waste_bytes: of_most,
    };
    let cached = [(u32::MAX, u32::MAX); octopod::wire::CLASSES_IN_RECORD].into_iter().collect();
    let cpu = HeapCpu { cpu: u32::MAX, node: u32::MAX, cached };
    let calls = [of_most; octopod::wire::CALLS_IN_SITE].into_iter().collect();
    let role = "allocated".to_owned();
    let site = HeapSite { role, objects: of_most, bytes: of_most, slide: of_most, calls };
    let of_heap =
        [Record::Heap(heap), Record::HeapClass(class), Record::HeapCpu(cpu), Record::HeapSite(site)];
    let of_frames = [Record::ZoneCounts(zone), Record::FrameCounts(counts)];
    for sent in of_frames.iter().chain(&of_heap).map(line) {
        assert!(sent.len() < MAX_RECORD_BYTES, "{sent}");
    }
}

#[test]
fn the_longest_latencies_fit_in_a_record_and_go_to_their_workload() {
    let part = |bucket| {
        let buckets = [bucket; BUCKETS_IN_RECORD].into_iter().collect();
        Record::Latency(Latency { workload: "n".repeat(60), buckets })
    };
    let sent = line(&part((u64::MAX, u64::MAX)));
    assert!(sent.len() < MAX_RECORD_BYTES, "{sent}");
    let stress = |name: &str| Stress {
        workload: name.to_owned(),
        allocator: "octopod".to_owned(),
        cpus: 1,
        operations: 1,
        elapsed_us: 1,
        allocations: 1,
        refused: 0,
        unsupported: 0,
        kind: None,
        lost: 0,
        double_allocated: 0,
        rounds: 0,
        failed_allocations: 0,
        offline_cycles: 0,
        scheduling: None,
        timed: None,
        cycles: Default::default(),
    };
    let mut seen = Seen::default();
    for record in [part((1, 1)), part((2, 2)), Record::Stress(stress("a")), Record::Stress(stress("b"))] {
        seen.take(record);
    }
    // Of buckets that do not ascend only the first counts.
    assert_eq!(seen.latencies, [vec![(1, 1), (2, 2)], vec![]]);
}

#[test]
fn the_first_panic_counts() {
    let panic = |cpu| Record::Panic(Panic { cpu, message: "x".to_owned(), ..Panic::default() });
    let mut seen = Seen::default();
    seen.take(panic(3));
    seen.take(panic(4));
    assert_eq!(seen.panic.unwrap().cpu, 3);
}

#[test]
fn a_warning_gets_its_own_cpus_addresses() {
    let warning = |cpu, message: &str| {
        let (kind, message) = ("call".to_owned(), message.to_owned());
        Record::Warning(Warning { cpu, kind, message, rip: Some(1), slide: 0, wait: None })
    };
    let frame = |cpu, address| Record::WarningFrame(octopod::wire::WarningFrame { cpu, address });
    let mut seen = Seen::default();
    for record in [warning(3, "a"), warning(4, "b"), frame(3, 30), frame(4, 40), frame(5, 50), frame(3, 31)] {
        seen.take(record);
    }
    seen.take(warning(3, "c"));
    seen.take(frame(3, 32));
    let frames: Vec<_> = seen.warnings.iter().map(|(_, frames)| frames.clone()).collect();
    assert_eq!(frames, [vec![30, 31], vec![40], vec![32]]);
}

fn verdict(pass: bool) -> Record<String> {
    Record::Verdict(Verdict { pass, reason: None, free_frames_after: 7 })
}

#[test]
fn a_second_verdict_does_not_replace_the_first() {
    let mut seen = Seen::default();
    seen.take(verdict(false));
    seen.take(verdict(true));
    assert_eq!((seen.verdict.unwrap().pass, seen.not_once), (false, vec!["verdict"]));
}

#[test]
fn a_flood_is_bounded() {
    let (mut seen, mut framing) = (Seen::default(), Framing::new(Nonce::new(1).unwrap()));
    for address in 0..10_000 {
        seen.take(Record::BacktraceFrame(BacktraceFrame { address }));
        let reading = framing.read("@octopod {");
        assert_eq!(seen.read(&reading), None);
    }
    assert_eq!((seen.frames.len(), seen.unreadable_lines.len()), (MAX_FRAMES, MAX_KEPT));
    assert_eq!(seen.unreadable, 10_000);
}

#[test]
fn the_first_record_with_the_nonce_makes_text_of_those_before() {
    let (mut seen, mut framing) = (Seen::default(), Framing::new(Nonce::new(1).unwrap()));
    let json = |record| serde_json::to_string(&record).unwrap();
    let refused = json(Record::Refused(ExitReason { reason: "x".to_owned() }));
    seen.read(&framing.read(&format!("@octopod {refused}")));
    assert_eq!(seen.refused.as_deref(), Some("x"));
    seen.read(&framing.read(&format!("@octopod:0000000000000001:0 {}", json(verdict(true)))));
    seen.read(&framing.read(&format!("help @octopod {refused}")));
    assert_eq!((seen.refused, seen.unreadable, seen.lost), (None, 0, 0));
    assert!(seen.verdict.unwrap().pass);
}

#[test]
fn numbers_and_kinds_tell_of_a_second_boot() {
    let line = |number: u32| format!("@octopod:0000000000000001:{number} {{\"frame\":{{\"address\":1}}}}");
    let (mut seen, mut framing) = (Seen::default(), Framing::new(Nonce::new(1).unwrap()));
    for number in [0, 1, 3, 3] {
        seen.read(&framing.read(&line(number)));
    }
    assert_eq!((seen.lost, seen.repeated, seen.booted_again, seen.frames.len()), (1, 1, false, 3));
    seen.read(&framing.read(&line(0)));
    assert!(seen.booted_again);
    let mut seen = Seen::default();
    let region = |start, end| Record::Region(MemoryRegion { start, end, owner: "usable".to_owned() });
    seen.take(region(0, 1));
    seen.take(region(1, 2));
    seen.boot = crate::report::sample::seen(1, &[], &[]).boot;
    assert!(!seen.booted_again && seen.not_once.is_empty());
    seen.take(region(0, 1));
    assert!(seen.booted_again);
}

#[test]
fn a_repeated_record_and_one_beyond_the_limit_complete_no_step() {
    let work = || Record::Work(WorkStart { entry_to_work_us: 5 });
    let test = || Record::Test(TestStep { number: 0, phase: TestPhase::Begun, us: 0 });
    let mut seen = Seen::default();
    for (record, steps) in
        [(work(), 1), (work(), 1), (Record::Prompt, 1), (test(), 2), (work(), 2), (test(), 3)]
    {
        seen.take(record);
        assert_eq!(seen.steps, steps);
    }
    assert_eq!(seen.last_step, Some(Step::Test(TestPhase::Begun)));
    for _ in 2..MAX_OF_A_KIND {
        seen.take(test());
    }
    let steps = seen.steps;
    seen.take(test());
    assert_eq!((seen.steps, seen.tests.len()), (steps, MAX_OF_A_KIND));
}
