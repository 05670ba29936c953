//! The command `mem`.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::command::View;
use super::error::CommandError;
use crate::boot::BootInfo;
use crate::boot::memory_map::{Owner, Region};
use crate::console;
use crate::cpu::{CpuId, CpuSet, IrqGuard};
use crate::memory::frames::{NodeId, ORDERS, ZoneId, ZoneType};
use crate::memory::paging::translate_live;
use crate::memory::paging::walk::{Page, is_canonical};
use crate::{heap, memory, smp};

/// Bytes of a frame, as KiB.
const FRAME_KIB: u64 = 4;

/// Shows a view of memory.
///
/// # Errors
/// The address is not canonical.
pub(crate) fn show(view: View, boot: &BootInfo) -> Result<(), CommandError> {
    match view {
        View::Summary => summary(boot),
        View::Map => map(boot),
        View::Frames => frames(),
        View::Heap => heap_objects(),
        View::Mappings => mappings(),
        View::Tables(address) => return tables(address),
    }
    Ok(())
}

fn summary(boot: &BootInfo) {
    let frames = memory::frames();
    let (total, free) = (frames.total_frames(), frames.free_frames());
    let cached = cached_by_all();
    let of_kernel = |region: &&Region| matches!(region.owner, Owner::Kernel(_));
    let reserved: u64 = boot.map.regions().iter().filter(of_kernel).map(|region| region.range.len()).sum();
    console::print(format_args!(
        "{total} page frames ({} KiB) managed by the allocator, {free} free",
        total as u64 * FRAME_KIB
    ));
    console::print(format_args!(
        "{cached} more are cached by CPUs, {} are in use",
        total.saturating_sub(free + cached)
    ));
    console::print(format_args!(
        "{} KiB of allocator tables, {} KiB allocated by the kernel from the memory map; see `mem map`",
        frames.table_bytes() >> 10,
        reserved >> 10
    ));
}

fn map(boot: &BootInfo) {
    for region in boot.map.regions() {
        console::print(format_args!(
            "{} {:>12} KiB  {}",
            region.range,
            region.range.len().div_ceil(1024),
            region.owner
        ));
    }
}

fn frames() {
    console::print(format_args!("free frames by order:"));
    for zone in memory::frames().zone_stats() {
        let name = zone.name.unwrap_or(ZoneId { node: NodeId(0), zone_type: ZoneType::Normal });
        console::print(format_args!(
            "node {} {:<6} {:>9} of {:>9} frames:{}",
            name.node.0,
            name.zone_type.name(),
            zone.free,
            zone.total,
            ByOrder(zone.free_by_order)
        ));
    }
    for cpu in smp::online() {
        console::print(format_args!("cpu {:>4} caches {:>4} frames", cpu.id().0, cached_by(cpu.id())));
    }
}

fn heap_objects() {
    let Some(counts) = heap::HeapCounts::take() else {
        return console::print(format_args!("no memory to count with"));
    };
    let large = counts.large();
    console::print(format_args!(
        "{} KiB in slabs, large objects and metadata, of these {} KiB metadata; {} KiB of tables",
        counts.frames_held() as u64 * FRAME_KIB,
        counts.metadata_frames() as u64 * FRAME_KIB,
        heap::table_bytes() >> 10
    ));
    console::print(format_args!(
        "large objects: {} of {} bytes in {} KiB",
        large.objects,
        large.bytes,
        large.frames as u64 * FRAME_KIB
    ));
    for class in counts.classes() {
        let stats = &class.stats;
        console::print(format_args!(
            "node {} {:>5} bytes: {:>7} live, {:>6} cached, {:>6} free in {:>5} slabs; waste: about {} bytes in objects, {} in slabs",
            stats.node,
            stats.class.size(),
            class.live(),
            class.cached,
            stats.free(),
            stats.slabs,
            stats.internal_waste(class.live()),
            stats.slab_waste()
        ));
    }
    for cpu in smp::online() {
        let (objects, bytes) = counts.cached_by(cpu.id()).fold((0, 0), |(objects, bytes), (class, count)| {
            (objects + count, bytes + count * class.size() as u64)
        });
        console::print(format_args!("cpu {:>4} caches {objects:>5} objects of {bytes} bytes", cpu.id().0));
    }
}

fn mappings() {
    let memory::MappingStatistics { maps, unmaps, batches, waiting_pages, table_frames, segments } =
        memory::mapping_statistics();
    console::print(format_args!(
        "region of {} GiB, {segments} segments of 2 MiB in use, {} KiB of page tables",
        memory::mapping_region_pages() >> 18,
        table_frames * FRAME_KIB
    ));
    console::print(format_args!(
        "{} mappings, {maps} made and {unmaps} unmapped since boot",
        maps.saturating_sub(unmaps)
    ));
    console::print(format_args!(
        "{} KiB wait for a flush; {batches} batches were freed, {} CPUs were interrupted to flush",
        waiting_pages * FRAME_KIB,
        smp::flush_ipis()
    ));
}

/// Frees the frames that online CPUs cache. A CPU that cannot be called keeps its own.
///
/// **Context:** thread, interrupts on.
pub(crate) fn drain_cpus() {
    let drain = || memory::drain_this_cpu(&IrqGuard::new());
    if let Err(error) = smp::call_online(&smp::all_online(), &drain) {
        log::warn!("frames cached on other CPUs: {error}");
    }
}

/// The number of frames that all online CPUs cache.
fn cached_by_all() -> usize {
    smp::online().map(|cpu| cached_by(cpu.id())).sum()
}

/// The number of frames that a CPU caches, which only the CPU itself knows; 0 if the call fails, which is logged.
fn cached_by(cpu: CpuId) -> usize {
    let cached = AtomicUsize::new(0);
    let called = smp::call(&CpuSet::of(cpu), &|| {
        cached.store(memory::cached_by_this_cpu(&IrqGuard::new()), Ordering::Relaxed);
    });
    called.map_or(0, |()| cached.into_inner())
}

struct ByOrder([usize; ORDERS]);

impl fmt::Display for ByOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = self.0.iter().enumerate().filter(|(_, frames)| **frames > 0);
        there.into_iter().try_for_each(|(order, frames)| write!(f, " {order}:{frames}"))
    }
}

fn tables(address: u64) -> Result<(), CommandError> {
    if !is_canonical(address) {
        return Err(CommandError::NotCanonical { address });
    }
    let walk = translate_live(address);
    for step in &walk.steps {
        console::print(format_args!(
            "level {}: table {:#014x}, entry {:>3}: {:#018x}{}",
            step.level,
            step.table,
            step.index,
            step.entry.0,
            if step.is_present() { "" } else { ", not present" }
        ));
    }
    match walk.page {
        Some(page) => {
            console::print(format_args!("{address:#x} is physical {:#x}: {}", page.physical, Rights(page)))
        }
        None => console::print(format_args!("{address:#x} is not mapped")),
    }
    Ok(())
}

/// Displays the access rights and the memory type of a page.
struct Rights(Page);

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rights(page) = self;
        write!(
            f,
            "a page of {} KiB, r{}{}{}, {}, {} by entry {} of the page attribute table",
            page.bytes >> 10,
            if page.access.writable { "w" } else { "-" },
            if page.access.executable { "x" } else { "-" },
            if page.access.user { ", user" } else { "" },
            if page.global { "global" } else { "not global" },
            page.memory_type.name(),
            page.pat_index
        )
    }
}
