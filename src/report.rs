//! Reports of the run to the launcher, except those of the workloads.

mod times;
pub(crate) mod trace;

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use ap_trampoline::Stage;

use crate::acpi::expected::{CpuLimit, UnlistedReason};
use crate::acpi::numa::Numa;
use crate::boot::defect::Defect;
use crate::boot::{BootInfo, handoff, image, report_defect, unreported_defects};
use crate::console::{self, LineBuffer};
use crate::cpu::Features;
use crate::cpu::registers::{exit, read_tsc};
use crate::interrupts::Vector;
use crate::memory::audit::Pages;
use crate::memory::cache::counters as frame_counts;
use crate::memory::frames::{NodeId, ORDERS, ZoneId, ZoneType};
#[cfg(feature = "selftest")]
use crate::selftest;
#[cfg(feature = "shell")]
use crate::shell;
use crate::smp::{self, BringUp};
use crate::stress::StressError;
use crate::time::{self, Clock, Clocksource};
use crate::wire::{self, ExitCode, Record, StagesUs};
use crate::{apic, audit, bench, interrupts, memory};

/// Why the verdict is fail.
#[derive(Clone, Copy, Debug)]
pub enum Reason {
    /// CPUs that the firmware lists did not come online.
    MissingCpus,
    /// The machine has CPUs that are not in the kernel's list.
    UnlistedCpus(UnlistedReason),
    /// Bring-up changed a page beside the trampoline's.
    TrampolineOverrun {
        /// The trampoline's page, physical.
        page: u64,
    },
    /// The page-table audit found a violation.
    PageTableAudit(audit::Finding),
    /// The stress failed.
    Stress(StressError),
    /// The bench has no exact figures.
    Bench(bench::BenchError),
    /// The self-test failed.
    #[cfg(feature = "selftest")]
    SelfTest(selftest::SelfTestError),
    /// The shell's session failed.
    #[cfg(feature = "shell")]
    Shell(shell::SessionError),
    /// Work did not run on all CPUs.
    Work(smp::WorkError),
    /// A custom kernel failed.
    Program(LineBuffer<100>),
}

/// Whether a listed CPU should have come online and did not. A CPU that xAPIC mode cannot address should not. A CPU that went
/// offline later did come online.
fn is_missing(cpu: &smp::Cpu) -> bool {
    cpu.stamp(Stage::Online).is_none() && cpu.is_reachable()
}

/// The missing CPUs, by the rules of [`crate::acpi::expected`].
pub(crate) fn missing_cpus(up: &BringUp) -> Option<Reason> {
    if smp::cpus().iter().any(is_missing) {
        return Some(Reason::MissingCpus);
    }
    up.expected.unlisted(up.listed).map(Reason::UnlistedCpus)
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::PageTableAudit(finding) => finding.fmt(f),
            Reason::Stress(error) => error.fmt(f),
            Reason::Bench(failure) => failure.fmt(f),
            #[cfg(feature = "selftest")]
            Reason::SelfTest(failure) => failure.fmt(f),
            #[cfg(feature = "shell")]
            Reason::Shell(failure) => failure.fmt(f),
            Reason::Work(error) => error.fmt(f),
            Reason::Program(reason) => f.write_str(reason.as_str()),
            Reason::TrampolineOverrun { page } => {
                write!(f, "bring-up has changed a page beside the AP trampoline at {page:#x}")
            }
            Reason::UnlistedCpus(unlisted) => unlisted.fmt(f),
            Reason::MissingCpus => {
                let mut missing = smp::cpus().iter().filter(|cpu| is_missing(cpu));
                let count = missing.clone().count();
                let Some(first) = missing.next() else { return f.write_str("a CPU is missing") };
                write!(f, "cpu {} (APIC ID {}) did not start, ", first.id(), first.entry.apic_id)?;
                if first.has_area() {
                    write!(f, "last seen in stage {}", first.stage())?;
                } else {
                    f.write_str("no free page below 1 MiB for the AP trampoline")?;
                }
                match count {
                    1 => Ok(()),
                    count => write!(f, ", and {} more", count - 1),
                }
            }
        }
    }
}

/// Sends the memory map.
pub(crate) fn memory_map(boot: &BootInfo) {
    for region in boot.map.regions() {
        let owner = LineBuffer::<40>::format(format_args!("{}", region.owner));
        let (start, end) = (region.range.start, region.range.end);
        console::send(&Record::Region(wire::MemoryRegion { start, end, owner: owner.as_str() }));
    }
}

/// Logs the size of memory, and the NUMA nodes if there are several.
pub(crate) fn zones(numa: &Numa<'_>) {
    let frames = memory::frames();
    let total = frames.total_frames();
    let metadata = frames.table_bytes();
    log::info!("memory: {} MiB, {total} page frames, {} KiB of tables", total >> 8, metadata >> 10);
    if numa.nodes() < 2 {
        return;
    }
    for node in (0..numa.nodes() as u8).map(NodeId) {
        let zones = frames.zone_stats().filter(|zone| zone.name.is_some_and(|name| name.node == node));
        let mib = zones.map(|zone| zone.total).sum::<usize>() >> 8;
        let domain = numa.domain(node).unwrap_or_default();
        log::info!("{node} (domain {domain}): {mib} MiB, distances {}", Distances(numa, node));
        let subject = LineBuffer::<40>::format(format_args!("memory.node{}", node.0));
        let distances = LineBuffer::<200>::format(format_args!("{}", Distances(numa, node)));
        console::send(&Record::number(subject.as_str(), "domain", domain.into()));
        console::send(&Record::number(subject.as_str(), "mib", mib as u64));
        console::send(&Record::text(subject.as_str(), "distances", distances.as_str()));
    }
}

/// Displays the distances of a node to all nodes, with a space between.
struct Distances<'a>(&'a Numa<'a>, NodeId);

impl fmt::Display for Distances<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Distances(numa, from) = self;
        let mut separator = "";
        (0..numa.nodes() as u8).map(NodeId).try_for_each(|to| {
            write!(f, "{}{}", core::mem::replace(&mut separator, " "), numa.distance(*from, to))
        })
    }
}

/// Reports the bring-up: one record for the boot, then one for each CPU.
pub(crate) fn boot(boot: &BootInfo, clock: &Clock, up: &BringUp) {
    let init_to_online_us = time::us_at(up.last_online_tsc).saturating_sub(time::us_at(up.first_init_tsc));
    log::info!(
        "{} of {} CPUs online, {init_to_online_us} us after the first INIT, {} KiB for each",
        up.online,
        up.listed,
        up.bytes_per_cpu.div_ceil(1024)
    );
    let mut unreachable = smp::cpus().iter().filter(|cpu| !cpu.is_reachable());
    let unreachable_count = unreachable.clone().count() as u32;
    if let Some(first) = unreachable.next() {
        let reason = format_args!(
            "{unreachable_count} CPUs cannot be addressed without x2APIC mode, the first has APIC ID {}: not started",
            first.entry.apic_id
        );
        report_defect(&Defect { table: "MADT", address: None, offset: None, reason });
    }
    log::debug!("AP trampoline at {:#x}", up.trampoline_page);
    let image_start = LineBuffer::<20>::format(format_args!("{:#x}", image::all().start));
    console::send(&Record::text("boot", "image_start", image_start.as_str()));
    console::send(&Record::Boot(wire::Boot {
        version: Some(env!("CARGO_PKG_VERSION")),
        protocol: boot.protocol.name(),
        kaslr: handoff().kaslr().name(),
        direct_map_base: handoff().direct_map_base,
        slide: handoff().slide,
        apic_mode: apic::mode().name(),
        clock_source: clock.source.name(),
        tsc_khz: clock.tsc_hz / 1000,
        apic_timer_khz: clock.apic_timer_hz / 1000,
        cpus_listed: up.listed,
        cpus_online: up.online,
        cpus_expected: Some(wire::ExpectedCpus {
            by_tables: up.expected.by_tables,
            disabled: up.expected.disabled,
            by_cpuid: up.expected.by_cpuid,
            unreachable: unreachable_count,
            limit: up.expected.limit.map(CpuLimit::name),
        }),
        entry_to_online_us: time::us_at(up.last_online_tsc),
        entry_to_online_ns: time::ns_at(up.last_online_tsc),
        init_to_online_us,
        bring_up: wire::BringUp {
            init_delay_us: up.init_sipi.init_delay_us,
            start_up_rounds: up.init_sipi.start_ups,
            apic_error_status: up.init_sipi.error_status,
            bytes_per_cpu: up.bytes_per_cpu,
            frames_taken: up.frames_taken,
            trampoline_page: up.trampoline_page,
        },
    }));
    let mut absent = 0;
    for cpu in smp::cpus() {
        absent += usize::from(!cpu.is_online());
        if !cpu.is_online() && absent > wire::MAX_ABSENT_CPUS {
            continue;
        }
        let at = |stage| cpu.stamp(stage).map(time::us_at);
        let failed_stage = (!cpu.is_online() && cpu.has_area()).then(|| cpu.stage().name());
        console::send(&Record::Cpu(wire::Cpu {
            cpu: cpu.id().0,
            apic_id: cpu.entry.apic_id.0,
            state: match (cpu.is_online(), cpu.has_area()) {
                (true, _) => "online",
                (false, true) => "failed",
                (false, false) => "not_started",
            },
            failed_stage,
            stages_us: StagesUs {
                sipi_sent: at(Stage::SipiSent),
                real_mode: at(Stage::RealMode),
                protected_mode: at(Stage::ProtectedMode),
                long_mode: at(Stage::LongMode),
                gs: at(Stage::Gs),
                idt: at(Stage::Idt),
                apic: at(Stage::Apic),
                timer: at(Stage::Timer),
                online: at(Stage::Online),
            },
        }));
    }
}

/// Reports the clocksource and the TSC skew.
pub(crate) fn clocksource(counter: &Clocksource) {
    let Clocksource { name, unstable_reason, warp, skew_ns, drift_ppm } = *counter;
    trace::set_skew(warp.skew_cycles);
    let unstable_reason =
        unstable_reason.map(|unstable_reason| LineBuffer::<100>::format(format_args!("{unstable_reason}")));
    log::info!(
        "clocksource: {name}; TSC skew <= {} cycles ({skew_ns} ns), {} samples, {} CPUs; timers {}",
        warp.skew_cycles,
        warp.samples,
        warp.cpus,
        time::timer::mode().name()
    );
    console::send(&Record::Clock(wire::Clock {
        counter: name,
        unstable_reason: unstable_reason.as_ref().map(LineBuffer::as_str),
        skew_cycles: warp.skew_cycles,
        skew_ns,
        warps: warp.times,
        skew_samples: warp.samples,
        skew_cpus: warp.cpus.into(),
        drift_ppm,
        timer_mode: time::timer::mode().name(),
    }));
}

/// Runs the audit, and reports the mapped pages.
///
/// # Errors
/// The first finding.
pub(crate) fn page_table_audit(boot: &BootInfo, features: &Features) -> Result<(), Reason> {
    let began = read_tsc();
    let found = audit::run(boot.map, features).map_err(Reason::PageTableAudit)?;
    let walk_us = time::us_at(read_tsc()).saturating_sub(time::us_at(began));
    let all = [found.text, found.constants, found.data, found.device];
    let [small, large, huge] = [0, 1, 2].map(|size| all.iter().map(|pages| pages.by_size[size]).sum::<u64>());
    log::info!(
        "page tables: {huge} pages of 1 GiB, {large} of 2 MiB, {small} of 4 KiB in {} runs, {} tables; audit passed",
        found.runs,
        found.tables
    );
    let pages = |pages: Pages| {
        let [small, large, huge] = pages.by_size;
        wire::Pages { small, large, huge }
    };
    console::send(&Record::PageTables(wire::PageTables {
        tables: found.tables,
        text: pages(found.text),
        constants: pages(found.constants),
        data: pages(found.data),
        device: pages(found.device),
        walk_us,
    }));
    Ok(())
}

const _: () = assert!(wire::ORDERS == ORDERS);

/// Sends the free frames of each zone of each node, by order.
fn send_zone_counts(after: bool) {
    for zone in memory::frames().zone_stats() {
        let name = zone.name.unwrap_or(ZoneId { node: NodeId(0), zone_type: ZoneType::Normal });
        console::send(&Record::ZoneCounts(wire::ZoneCounts {
            after,
            node: u32::from(name.node.0),
            zone: name.zone_type.name(),
            frames_total: zone.total as u64,
            free_frames: zone.free as u64,
            free_by_order: zone.free_by_order.map(|frames| frames as u64),
        }));
    }
}

/// Sends each CPU's counters of the frame allocator, if any is not 0.
fn frame_counts() {
    for cpu in smp::cpus() {
        let count = |counter: Option<&AtomicU64>| counter.map_or(0, |count| count.load(Ordering::Relaxed));
        let nothing =
            wire::FrameCounts { cpu: cpu.id().0, node: u32::from(cpu.entry.node.0), ..Default::default() };
        let counts = wire::FrameCounts {
            refills: count(cpu.get(frame_counts::REFILLS)),
            flushes: count(cpu.get(frame_counts::FLUSHES)),
            drains: count(cpu.get(frame_counts::DRAINS)),
            failures: count(cpu.get(frame_counts::FAILURES)),
            run_allocs: count(cpu.get(frame_counts::RUN_ALLOCS)),
            run_frees: count(cpu.get(frame_counts::RUN_FREES)),
            block_allocs: count(cpu.get(frame_counts::BLOCK_ALLOCS)),
            block_frees: count(cpu.get(frame_counts::BLOCK_FREES)),
            bulk_allocs: count(cpu.get(frame_counts::BULK_ALLOCS)),
            bulk_frees: count(cpu.get(frame_counts::BULK_FREES)),
            placed_allocs: count(cpu.get(frame_counts::PLACED_ALLOCS)),
            ..nothing
        };
        if counts != nothing {
            console::send(&Record::FrameCounts(counts));
        }
    }
}

/// Reports the frame allocator's state before the work.
pub(crate) fn free_before_work(free_frames_before: u64) {
    send_zone_counts(false);
    let frames = memory::frames();
    console::send(&Record::Memory(wire::Memory {
        frames_total: frames.total_frames() as u64,
        metadata_bytes: frames.table_bytes() as u64,
        free_frames_before,
    }));
}

/// The number of interrupts on a vector for each CPU, in order; 0 for a CPU without a per-CPU area.
fn interrupts_by_cpu(vector: Vector) -> impl Iterator<Item = u64> {
    smp::cpus().iter().map(move |cpu| {
        let counts = cpu.get(interrupts::COUNTS);
        counts.map_or(0, |counts| counts[usize::from(vector.get())].load(Ordering::Relaxed))
    })
}

fn interrupts_on(vector: Vector) -> u64 {
    interrupts_by_cpu(vector).sum()
}

/// Sends the interrupt counts: for each vector with any, a record for every [`wire::COUNTS_IN_RECORD`] CPUs.
fn interrupt_counts() {
    for vector in (0..=255).map(Vector::new).filter(|vector| interrupts_on(*vector) > 0) {
        let mut counts = interrupts_by_cpu(vector);
        for first_cpu in (0..smp::cpus().len() as u32).step_by(wire::COUNTS_IN_RECORD) {
            console::send(&Record::Interrupts(wire::Interrupts {
                vector: vector.get(),
                name: interrupts::name(vector),
                first_cpu,
                counts: counts.by_ref().take(wire::COUNTS_IN_RECORD).collect(),
            }));
        }
    }
}

/// Sends the final counters and the verdict, and ends the run.
pub(crate) fn verdict(outcome: Result<(), Reason>) -> ! {
    let code = finish(outcome);
    exit(code)
}

/// Sends the final counters and the verdict pass, and resets the machine by `reset`.
#[cfg(feature = "shell")]
pub(crate) fn verdict_and_reset(reset: fn() -> !) -> ! {
    finish(Ok(()));
    console::send_last(&Record::Reset);
    reset()
}

/// Sends the final counters and the verdict. Returns the exit code of the verdict.
fn finish(outcome: Result<(), Reason>) -> ExitCode {
    interrupt_counts();
    times::boot_stages();
    times::lateness();
    frame_counts();
    send_zone_counts(true);
    let unexpected = smp::cpus().iter().filter_map(|cpu| cpu.get(interrupts::UNEXPECTED));
    console::send(&Record::Events(wire::Events {
        invalid_frees: memory::frames().double_frees_caught() as u64,
        spurious: interrupts::pic::vectors().chain([Vector::SPURIOUS]).map(interrupts_on).sum(),
        unexpected_interrupts: unexpected.map(|count| count.load(Ordering::Relaxed)).sum(),
        timer_interrupts: interrupts_on(Vector::TIMER),
        ipi_call_timeouts: smp::call_timeouts(),
        watchdog_alarms: smp::watchdog_alarms(),
        watchdog_recoveries: smp::watchdog_recoveries(),
        lock_stalls: smp::lock_stalls(),
        unexpected_nmis: smp::nmis(),
        log_lines_lost: console::lines().lost,
        late_cpus_parked: smp::late_aps(),
    }));
    match unreported_defects() {
        0 => {}
        count => {
            log::warn!("{count} more defects of firmware or boot loader tables were not logged")
        }
    }
    match smp::late_aps() {
        0 => {}
        1 => log::warn!("1 CPU came online late and was parked"),
        count => log::warn!("{count} CPUs came online late and were parked"),
    }
    let reason = outcome.err().map(|reason| LineBuffer::<400>::format(format_args!("{reason}")));
    let reason = reason.as_ref().map(LineBuffer::as_str);
    match reason {
        None => log::info!("pass"),
        Some(reason) => log::error!("fail: {reason}"),
    }
    trace::send();
    console::send_last(&Record::Verdict(wire::Verdict {
        pass: reason.is_none(),
        reason,
        free_frames_after: memory::frames().free_frames() as u64,
    }));
    if reason.is_none() { ExitCode::Pass } else { ExitCode::Fail }
}
