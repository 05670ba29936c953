//! Reports of physical memory: its map, its zones, its free frames, and the pages that are mapped.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use super::{Reason, threads};
use crate::acpi::numa::Numa;
use crate::boot::BootInfo;
use crate::console::{self, LineBuffer};
use crate::cpu::registers::read_tsc;
use crate::cpu::{Features, IrqGuard, interrupts_enabled};
use crate::memory::audit::Pages;
use crate::memory::cache::counters as frame_counts;
use crate::memory::frames::{NodeId, ORDERS, ZoneId, ZoneType};
use crate::wire::{self, Record};
use crate::{audit, heap, memory, sched, smp, time};

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
pub(super) fn send_zone_counts(after: bool) {
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
pub(super) fn frame_counts() {
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

/// Sends what the heap has, if it has anything. With interrupts off it cannot: other CPUs take part.
///
/// **Context:** thread.
pub(super) fn heap_counts() {
    if !interrupts_enabled() {
        return;
    }
    let Some(counts) = heap::HeapCounts::take().filter(|counts| counts.frames_held() > 0) else { return };
    for class in counts.classes() {
        console::send(&Record::HeapClass(class_record(&class)));
    }
    for cpu in smp::online() {
        let mut all =
            counts.cached_by(cpu.id()).map(|(class, count)| (class.size() as u32, count as u32)).peekable();
        while all.peek().is_some() {
            let cached = all.by_ref().take(wire::CLASSES_IN_RECORD).collect();
            let node = u32::from(cpu.entry.node.0);
            console::send(&Record::HeapCpu(wire::HeapCpu { cpu: cpu.id().0, node, cached }));
        }
    }
    let large = counts.large();
    console::send(&Record::Heap(wire::Heap {
        frames_held: counts.frames_held() as u64,
        metadata_frames: counts.metadata_frames() as u64,
        table_bytes: heap::table_bytes() as u64,
        large_objects: large.objects as u64,
        large_bytes: large.bytes as u64,
        large_frames: large.frames as u64,
    }));
}

/// Sends the call sites of live objects, if the heap is checked. What caches of objects have free is dropped first.
///
/// **Context:** thread.
pub(super) fn live_heap_objects() {
    if interrupts_enabled() {
        heap::reclaim();
        heap::send_live_sites();
    }
}

fn class_record(class: &heap::ClassCounts) -> wire::HeapClass {
    let heap::ClassCounts { stats, cached } = class;
    wire::HeapClass {
        node: stats.node as u32,
        object_bytes: stats.class.size() as u64,
        slabs: stats.slabs as u64,
        slab_bytes: stats.bytes() as u64,
        live: class.live() as u64,
        cached: *cached as u64,
        free: stats.free() as u64,
        internal_waste_bytes: stats.internal_waste(class.live()) as u64,
        slab_waste_bytes: stats.slab_waste() as u64,
    }
}

/// Frees what the heap has cached, the stacks kept for new threads, and dropped mappings, so that their frames are counted as free. With interrupts off it cannot: other CPUs take part.
///
/// **Context:** thread.
pub(crate) fn release_cached() {
    if !interrupts_enabled() {
        return;
    }
    heap::reclaim();
    sched::release_stacks();
    if memory::waiting_pages() > 0
        && let Err(error) = smp::purge_mappings()
    {
        log::warn!("{error}");
    }
    // The frames of a slab stay cached by the CPU that has freed its last object.
    let drain = || memory::drain_this_cpu(&IrqGuard::new());
    if let Err(error) = smp::call_online(&smp::all_online(), &drain) {
        log::warn!("frames cached on other CPUs: {error}");
    }
}

/// Sends what was mapped and unmapped, if anything was, and, if there were threads, how deep their stacks were used and what the scheduler
/// has counted.
pub(super) fn mapping_counts() {
    sched::release_stacks();
    threads::threads();
    threads::scheduler();
    let memory::MappingStatistics { maps, unmaps, batches, .. } = memory::mapping_statistics();
    if maps == 0 {
        return;
    }
    for (name, value) in
        [("maps", maps), ("unmaps", unmaps), ("batches", batches), ("flush_ipis", smp::flush_ipis())]
    {
        console::send(&Record::number("memory.mappings", name, value));
    }
}

/// Reports the frame allocator's state before the work.
///
/// **Context:** thread, interrupts on.
pub(crate) fn free_before_work(free_frames_before: u64) {
    send_zone_counts(false);
    let frames = memory::frames();
    let before = frames.free_frames();
    release_cached();
    let free_frames_before = free_frames_before + (frames.free_frames() - before) as u64;
    console::send(&Record::Memory(wire::Memory {
        frames_total: frames.total_frames() as u64,
        metadata_bytes: frames.table_bytes() as u64,
        free_frames_before,
    }));
}
