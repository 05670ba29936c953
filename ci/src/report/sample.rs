//! Sample reports for tests.

use octopod::wire::{
    Bench, Boot, Cpu, Cycles, Events, Fact, Figure, Interrupts, Lateness, LockWait, Memory, MemoryRegion,
    StagesUs, Stress, StressCpu, ThreadRow, Verdict, Warning,
};

use crate::base::VerdictKind;
use crate::kernel::StackFrame;
use crate::report::Judgement;
use crate::report::document::*;
use crate::report::heap::HeapSiteReport;
use crate::report::panic::{PanicContextReport, PanicCpuReport, PanicReport, PanicThreadReport};
use crate::report::trace::EventReport;
use crate::run::Seen;

/// Words that want to be more than words.
pub const HOSTILE: &str = "<script>alert(1)</script>\"'&]]>\u{1b}[2J\u{0}<img src=x>";

/// Returns the record of a boot on which all CPUs came online.
pub fn boot(cpus: u32) -> Boot<String> {
    Boot {
        version: Some("0.1.0".to_owned()),
        protocol: "pvh".to_owned(),
        kaslr: "off".to_owned(),
        direct_map_base: 0xffff_8000_0000_0000,
        slide: 0,
        apic_mode: "x2apic".to_owned(),
        clock_source: "hpet".to_owned(),
        tsc_khz: 2_300_000,
        apic_timer_khz: 1_000_000,
        cpus_listed: cpus,
        cpus_online: cpus,
        cpus_expected: None,
        entry_to_online_us: 50_000,
        entry_to_online_ns: 50_000_000,
        init_to_online_us: 4_000,
        bring_up: Default::default(),
    }
}

/// Returns possible records of a machine that ran each workload on each allocator with 1 and with all CPUs.
pub fn seen(cpus: u32, workloads: &[&str], allocators: &[&str]) -> Seen {
    let mut seen = Seen {
        boot: Some(boot(cpus)),
        memory: Some(Memory { frames_total: 32_546, metadata_bytes: 6_848, free_frames_before: 32_000 }),
        events: Some(Events { timer_interrupts: 17, ..Events::default() }),
        verdict: Some(Verdict { pass: true, reason: None, free_frames_after: 32_000 }),
        ..Seen::default()
    };
    let region = |start, end, owner: &str| MemoryRegion { start, end, owner: owner.to_owned() };
    seen.regions = vec![
        region(0, 0x1000, "first page"),
        region(0x1000, 0x9_f000, "usable"),
        region(0x10_0000, 0x800_0000, "usable"),
        region(0xfd_0000_0000, 0x100_0000_0000, "reserved by firmware"),
    ];
    let stages = [
        ("loader", 9),
        ("memory", 900),
        ("clock", 26_000),
        ("aps", 46_000),
        ("work", 52_000),
        ("verdict", 600_000),
    ];
    seen.boot_stages = stages.into_iter().map(|(name, began_us)| (name.to_owned(), began_us)).collect();
    seen.cpus = (0..cpus).map(cpu).collect();
    for first_cpu in (0..cpus).step_by(octopod::wire::COUNTS_IN_RECORD) {
        let counts = (first_cpu..cpus).take(octopod::wire::COUNTS_IN_RECORD).map(u64::from).collect();
        seen.interrupts.push(Interrupts { vector: 242, name: "APIC timer".to_owned(), first_cpu, counts });
    }
    seen.lateness = (0..cpus)
        .map(|cpu| {
            let buckets = [(1_023, 3), (4_095, 900), (8_191, 40 + u64::from(cpu)), ((1 << 24) - 1, 1)];
            Lateness { cpu, buckets_ns: buckets.into_iter().collect() }
        })
        .collect();
    for count in if cpus > 1 { vec![1, cpus] } else { vec![1] } {
        for allocator in allocators {
            workloads.iter().for_each(|workload| add_stress(&mut seen, workload, allocator, count));
        }
    }
    seen
}

fn cpu(cpu: u32) -> Cpu<String> {
    let called = 46_000 + u64::from(cpu);
    let first = called + 1_500 + u64::from(cpu % 7) * 100;
    // A host that is busy keeps one of many waiting.
    let kept_waiting = if cpu % 16 == 5 { 9_000 } else { 0 };
    let after = |us| (cpu > 0).then_some(first + us);
    let late = |us| after(us + kept_waiting);
    let stages_us = StagesUs {
        sipi_sent: (cpu > 0).then_some(called),
        real_mode: after(0),
        protected_mode: after(3),
        long_mode: after(13),
        gs: after(18),
        idt: after(22),
        apic: late(25),
        timer: late(26),
        online: Some(first + 27 + kept_waiting),
    };
    Cpu { cpu, apic_id: cpu, state: "online".to_owned(), failed_stage: None, stages_us }
}

fn add_stress(seen: &mut Seen, workload: &str, allocator: &str, cpus: u32) {
    let share = |cpu| {
        let operations = 1_000 + u64::from(cpu);
        StressCpu { workload: workload.to_owned(), cpu, operations }
    };
    seen.shares.push((0..cpus).map(share).collect());
    seen.scores.push(vec![0, 250, 731]);
    seen.latencies.push(vec![(383, 900), (415, 80), (1_023, 9), (1 << 30, 1)]);
    seen.stress.push(stress(workload, allocator, cpus));
}

/// Returns the record of a workload that has lost nothing.
pub fn stress(workload: &str, allocator: &str, cpus: u32) -> Stress<String> {
    Stress {
        workload: workload.to_owned(),
        allocator: allocator.to_owned(),
        cpus,
        operations: 1_000 * u64::from(cpus),
        elapsed_us: 500_000,
        allocations: 4,
        refused: 2,
        unsupported: 1,
        lost: 0,
        double_allocated: 0,
        rounds: 0,
        failed_allocations: 0,
        offline_cycles: 0,
        scheduling: None,
        kind: Some("frames".to_owned()),
        timed: Some("pair".to_owned()),
        cycles: Cycles { p50: 383, p99: 415, p999: 1_023, max: 1 << 30 },
    }
}

/// The report on it.
pub fn report(seen: &Seen) -> Report {
    let judgement = Judgement { kind: VerdictKind::Pass, reason: None };
    Report::assemble(judgement, "work=stress".to_owned(), None, None, seen, Vec::new())
}

/// A report in which every word that a machine can say is hostile.
pub fn hostile() -> Report {
    let word = || HOSTILE.to_owned();
    let mut seen = seen(2, &[HOSTILE, "pairs"], &[HOSTILE, "locked"]);
    for cpu in &mut seen.cpus {
        (cpu.state, cpu.failed_stage) = (word(), Some(word()));
    }
    seen.regions.iter_mut().for_each(|region| region.owner = word());
    seen.boot_stages.iter_mut().for_each(|(name, _)| *name = word());
    seen.interrupts.iter_mut().for_each(|vector| vector.name = word());
    seen.threads.push(ThreadRow {
        id: 1,
        name: word(),
        state: word(),
        cpu: 0,
        affinity: word(),
        stack_bytes: Some(36864),
        stack_used_bytes: Some(8192),
        is_own_use: false,
        ran_ns: Some(1_000_000),
    });
    seen.facts.push(Fact { subject: word(), name: word(), value: None, text: Some(word()) });
    seen.figures.push(Figure { name: word(), unit: word(), total: 1, count: 1 });
    seen.bench.push(Bench { name: word(), unit: word(), total: 1, operations: 1 });
    let wait = || LockWait {
        lock: word(),
        at: Some(word()),
        holder: Some(1),
        held_at: Some(word()),
        ..LockWait::default()
    };
    let warning = Warning { cpu: 1, kind: word(), message: word(), rip: None, slide: 0, wait: Some(wait()) };
    seen.warnings.push((warning, Vec::new()));
    if let Some(boot) = &mut seen.boot {
        (boot.protocol, boot.kaslr, boot.apic_mode, boot.clock_source) = (word(), word(), word(), word());
    }
    let frame = || StackFrame {
        address: word(),
        function: Some(word()),
        location: Some(word()),
        inlined: true,
        is_library: false,
    };
    let mut report = report(&seen);
    (report.verdict, report.reason, report.command_line) = (VerdictKind::Panic, Some(word()), word());
    report.warnings[0].backtrace = vec![frame()];
    report.heap_sites = vec![HeapSiteReport {
        role: word(),
        objects: 1,
        bytes: 1,
        call: Some(word()),
        backtrace: vec![frame()],
    }];
    let cpu = |cpu| PanicCpuReport {
        cpu,
        state: word(),
        stage: word(),
        message: Some(word()),
        registers: vec![(word(), word())],
        locks: vec![word()],
        wait: Some(wait()),
        backtrace: vec![frame()],
        events: vec![EventReport { cycles_before: 2_300, us_before: Some(1.0), text: word() }],
    };
    report.panic = Some(PanicReport {
        requested: false,
        cpu: 0,
        message: word(),
        location: Some(word()),
        called_from: Some(word()),
        stage: Some(word()),
        backtrace: vec![frame()],
        cpus: vec![cpu(0), cpu(1)],
        contexts: vec![PanicContextReport { name: word(), lines: vec![word()] }],
        threads: vec![PanicThreadReport {
            id: 7,
            name: word(),
            state: word(),
            cpu: 1,
            waits_for: Some(word()),
            call: Some(word()),
            backtrace: vec![frame()],
        }],
    });
    report
}
