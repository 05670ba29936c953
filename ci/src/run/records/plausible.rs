//! The valid ranges of a record's numbers. They are checked once, when a record is read. After that, sums do not overflow,
//! differences are not negative, no divisor is zero, and no count is near 2^64.
//!
//! Panics and warnings are accepted for any CPU number: the report of a corrupted kernel is still useful.

use octopod::config::MAX_CPUS;
use octopod::wire::{Boot, Bucket, Cpu, MemoryRegion, Record, SchedCpu, Stress, ZoneCounts};

/// The end of physical memory (Intel SDM Vol. 3A, 4.1.4: MAXPHYADDR is at most 52).
const MAX_PHYSICAL: u64 = 1 << 52;

/// No machine has more frames.
const MAX_FRAMES: u64 = MAX_PHYSICAL / 4096;

/// The longest time, in any unit of a record: a number that JSON readers keep exactly.
const MAX_TIME: u64 = 1 << 53;

/// A terahertz.
const MAX_KHZ: u64 = 1_000_000_000;

/// The frame allocator numbers nodes by a byte.
const MAX_NODES: u32 = 256;

/// More workloads than this cannot be asked for in one run.
const MAX_WORKLOADS: u32 = 1 << 16;

/// The record, if its numbers can be true.
///
/// # Errors
/// A value out of its valid range.
pub fn check(record: Record<String>) -> Result<Box<Record<String>>, String> {
    problem(&record).map_or(Ok(()), Err)?;
    Ok(Box::new(record))
}

fn problem(record: &Record<String>) -> Option<String> {
    match record {
        Record::BringUpProgress(progress) => first([
            at_most("CPUs called", progress.called, MAX_CPUS),
            at_most("CPUs online", progress.online, progress.called),
        ]),
        Record::Boot(boot) => of_boot(boot),
        Record::Cpu(cpu) => of_cpu(cpu),
        Record::Region(region) => of_region(region),
        Record::PageTables(tables) => {
            let kinds = [tables.text, tables.constants, tables.data, tables.device];
            let pages = kinds.iter().flat_map(|pages| [pages.small, pages.large, pages.huge]);
            let most = pages.chain([tables.tables]).max().unwrap_or(0);
            first([at_most("pages", most, MAX_FRAMES), time("the walk", tables.walk_us)])
        }
        Record::Memory(memory) => first([
            at_most("frames", memory.frames_total, MAX_FRAMES),
            at_most("free frames", memory.free_frames_before, memory.frames_total),
            at_most("bytes of tables", memory.metadata_bytes, MAX_PHYSICAL),
        ]),
        Record::ZoneCounts(zone) => of_zone(zone),
        Record::FrameCounts(counts) => first([cpu_number(counts.cpu), node_number(counts.node)]),
        Record::Heap(heap) => first([
            at_most("frames of the heap", heap.frames_held, MAX_FRAMES),
            at_most("frames of the heap's metadata", heap.metadata_frames, MAX_FRAMES),
            at_most("bytes of the heap's tables", heap.table_bytes, MAX_PHYSICAL),
            at_most("frames of large objects", heap.large_frames, MAX_FRAMES),
        ]),
        Record::HeapClass(class) => first([
            node_number(class.node),
            at_least_one("bytes of an object", class.object_bytes),
            at_most("bytes of slabs", class.slab_bytes, MAX_PHYSICAL),
            at_most("bytes of waste in slabs", class.slab_waste_bytes, class.slab_bytes),
        ]),
        Record::HeapCpu(cpu) => first([cpu_number(cpu.cpu), node_number(cpu.node)]),
        Record::Work(work) => time("the work's beginning", work.entry_to_work_us),
        Record::Progress(progress) => first([
            cpu_count(progress.cpus),
            at_most("workloads", progress.of, MAX_WORKLOADS),
            (progress.index >= progress.of)
                .then(|| format!("workload {} of {}", u64::from(progress.index) + 1, progress.of)),
            time("the time so far", progress.elapsed_ms),
            time("the time allowed", progress.budget_ms),
        ]),
        Record::Stress(stress) => of_stress(stress),
        Record::StressCpu(share) => cpu_number(share.cpu),
        Record::Latency(part) => of_buckets(&part.buckets),
        Record::Fragmentation(part) => {
            let most = part.scores.iter().copied().max().unwrap_or(0);
            at_most("tenths of a percent", most, 1000)
        }
        Record::Figure(figure) => (figure.count == 0).then(|| "a figure over a count of 0".to_owned()),
        Record::Bench(bench) => (bench.operations == 0).then(|| "a cost of 0 operations".to_owned()),
        Record::Interrupts(part) => {
            let end = u64::from(part.first_cpu) + part.counts.len() as u64;
            at_most("CPUs", end, u64::from(MAX_CPUS))
        }
        Record::Clock(clock) => first([
            at_most("CPUs compared", clock.skew_cpus, u64::from(MAX_CPUS)),
            time("the skew", clock.skew_ns),
        ]),
        Record::BootStages(stages) => {
            stages.began_us.iter().find_map(|(name, began)| time(&format!("stage {name}"), *began))
        }
        Record::Lateness(late) => first([cpu_number(late.cpu), of_buckets(&late.buckets_ns)]),
        Record::Timers(timers) => at_most("CPUs", timers.cpus, MAX_CPUS),
        Record::Thread(thread) => {
            let (used, bytes) = (thread.stack_used_bytes, thread.stack_bytes);
            first([
                cpu_number(thread.cpu),
                at_most("bytes of a stack", bytes.unwrap_or(0), MAX_PHYSICAL),
                at_most("used bytes of a stack", used.unwrap_or(0), bytes.unwrap_or(0)),
            ])
        }
        Record::SchedCpu(cpu) => of_sched(cpu),
        Record::Fact(fact) => {
            let is_one = fact.value.is_some() != fact.text.is_some();
            (!is_one).then(|| "a fact that is not either a number or a text".to_owned())
        }
        Record::Verdict(verdict) => at_most("free frames", verdict.free_frames_after, MAX_FRAMES),
        Record::Test(_)
        | Record::Warning(_)
        | Record::Defect(_)
        | Record::WarningFrame(_)
        | Record::HeapSite(_)
        | Record::Prompt
        | Record::Reset
        | Record::Events(_)
        | Record::Refused(_)
        | Record::Usage(_)
        | Record::Panic(_)
        | Record::BacktraceFrame(_)
        | Record::PanicCpu(_)
        | Record::PanicWait(_)
        | Record::PanicFrame(_)
        | Record::PanicEvents(_)
        | Record::PanicContextLine(_)
        | Record::PanicThread(_) => None,
    }
}

/// Returns an invalid value of the boot.
pub fn of_boot(boot: &Boot<String>) -> Option<String> {
    let up = &boot.bring_up;
    first([
        at_most("CPUs listed", boot.cpus_listed, MAX_CPUS),
        at_most("CPUs online", boot.cpus_online, boot.cpus_listed),
        at_least_one("CPUs online", boot.cpus_online.into()),
        at_least_one("kHz of the TSC", boot.tsc_khz),
        at_most("kHz of the TSC", boot.tsc_khz, MAX_KHZ),
        at_most("kHz of the APIC timer", boot.apic_timer_khz, MAX_KHZ),
        time("entry to all online", boot.entry_to_online_us),
        time("entry to all online", boot.entry_to_online_ns),
        time("INIT to all online", boot.init_to_online_us),
        time("the INIT delay", up.init_delay_us),
        at_most("bytes for each CPU", up.bytes_per_cpu, MAX_PHYSICAL),
        at_most("frames for CPUs", up.frames_taken, MAX_FRAMES),
    ])
}

/// Returns an invalid value of a CPU.
pub fn of_cpu(cpu: &Cpu<String>) -> Option<String> {
    let stamps = cpu.stages_us.in_order();
    cpu_number(cpu.cpu)
        .or_else(|| stamps.into_iter().find_map(|(name, at)| time(&format!("stage {name}"), at?)))
}

/// Returns an invalid value of a region.
pub fn of_region(region: &MemoryRegion<String>) -> Option<String> {
    if region.start >= region.end || region.end > MAX_PHYSICAL {
        return Some(format!("a region from {:#x} to {:#x}", region.start, region.end));
    }
    None
}

fn of_zone(zone: &ZoneCounts<String>) -> Option<String> {
    let by_order = zone.free_by_order.iter().fold(0, |sum: u64, frames| sum.saturating_add(*frames));
    first([
        node_number(zone.node),
        at_most("frames", zone.frames_total, MAX_FRAMES),
        at_most("free frames", zone.free_frames, zone.frames_total),
        // More than there are is what the kernel reports whose allocator has accepted a free of what it does not own.
        at_most("free frames of all orders", by_order, MAX_FRAMES),
    ])
}

fn of_stress(stress: &Stress<String>) -> Option<String> {
    first([
        cpu_count(stress.cpus),
        time("the workload", stress.elapsed_us),
        at_most("lost frames", stress.lost, MAX_FRAMES),
    ])
}

/// Returns an invalid value of a histogram, or of a part of it.
pub fn of_buckets(buckets: &[Bucket]) -> Option<String> {
    let is_ascending = buckets.is_sorted_by(|(top, _), (next, _)| top < next);
    let holds_samples = buckets.iter().all(|(_, count)| *count > 0);
    (!is_ascending || !holds_samples)
        .then(|| "a histogram whose buckets do not ascend, or are empty".to_owned())
}

fn of_sched(cpu: &SchedCpu) -> Option<String> {
    first([
        cpu_number(cpu.cpu),
        time("the time of the scheduler", cpu.elapsed_ns),
        at_most("busy nanoseconds", cpu.busy_ns.unwrap_or(0), cpu.elapsed_ns),
    ])
}

/// A CPU's number.
pub fn cpu_number(cpu: u32) -> Option<String> {
    (cpu >= MAX_CPUS).then(|| format!("CPU {cpu}, where there are at most {MAX_CPUS}"))
}

/// Checks the number of CPUs that take part in something.
pub fn cpu_count(cpus: u32) -> Option<String> {
    first([at_least_one("CPUs", cpus.into()), at_most("CPUs", cpus, MAX_CPUS)])
}

/// A node's number.
pub fn node_number(node: u32) -> Option<String> {
    (node >= MAX_NODES).then(|| format!("node {node}, where there are at most {MAX_NODES}"))
}

/// A time in any of the units of records.
pub fn time(what: &str, time: u64) -> Option<String> {
    (time > MAX_TIME).then(|| format!("{what}: a time of {time}"))
}

fn at_most<T: Into<u64>>(what: &str, number: T, most: T) -> Option<String> {
    let (number, most) = (number.into(), most.into());
    (number > most).then(|| format!("{number} {what}, where there are at most {most}"))
}

fn at_least_one(what: &str, number: u64) -> Option<String> {
    (number == 0).then(|| format!("0 {what}"))
}

fn first<const N: usize>(problems: [Option<String>; N]) -> Option<String> {
    problems.into_iter().flatten().next()
}

#[cfg(test)]
mod tests {
    use octopod::wire::{Bench, Interrupts, StagesUs, Verdict};

    use super::*;

    fn refused(record: Record<String>) -> String {
        check(record).expect_err("the numbers cannot be true")
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let region = |start, end| Record::Region(MemoryRegion { start, end, owner: "usable".to_owned() });
        for (start, end) in [(2, 1), (1, 1), (0, u64::MAX), (u64::MAX, 0)] {
            assert!(refused(region(start, end)).contains("a region"), "{start:#x} {end:#x}");
        }
        assert!(check(region(0, MAX_PHYSICAL)).is_ok());
        let cpu = |cpu, online| {
            let stages_us = StagesUs { online: Some(online), ..StagesUs::default() };
            Record::Cpu(Cpu {
                cpu,
                apic_id: u32::MAX,
                state: "online".to_owned(),
                failed_stage: None,
                stages_us,
            })
        };
        assert_eq!(refused(cpu(60_000, 1)), "CPU 60000, where there are at most 4096");
        assert_eq!(refused(cpu(0, u64::MAX)), format!("stage online: a time of {}", u64::MAX));
        assert!(check(cpu(MAX_CPUS - 1, MAX_TIME)).is_ok());
        let verdict = Verdict { pass: true, reason: None, free_frames_after: u64::MAX };
        assert!(refused(Record::Verdict(verdict)).contains("free frames"));
        let bench = Bench { name: "x".to_owned(), unit: "y".to_owned(), total: 1, operations: 0 };
        assert!(refused(Record::Bench(bench)).contains("0 operations"));
        let counts = [1, 2].into_iter().collect();
        let part = Interrupts { vector: 2, name: "NMI".to_owned(), first_cpu: u32::MAX, counts };
        assert!(refused(Record::Interrupts(part)).contains("CPUs"));
        assert!(of_buckets(&[(1, 1), (1, 1)]).is_some() && of_buckets(&[(1, 0)]).is_some());
        assert!(of_buckets(&[(1, 1), (u64::MAX, u64::MAX)]).is_none());
    }
}
