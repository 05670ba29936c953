//! `mem`, in its forms.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::answer::CommandError;
use super::command::View;
use crate::boot::BootInfo;
use crate::boot::memory_map::{Owner, Region};
use crate::console;
use crate::cpu::{CpuId, CpuSet, IrqGuard};
use crate::memory::frames::{NodeId, ORDERS, ZoneId, ZoneType};
use crate::memory::paging::translate_live;
use crate::memory::paging::walk::{Page, is_canonical};
use crate::{memory, smp};

/// Bytes of a frame, as KiB.
const FRAME_KIB: u64 = 4;

/// Shows what was asked for.
pub fn show(view: View, boot: &BootInfo) -> Result<(), CommandError> {
    match view {
        View::Summary => summary(boot),
        View::Map => map(boot),
        View::Frames => frames(),
        View::Tables(address) => return tables(address),
    }
    Ok(())
}

fn summary(boot: &BootInfo) {
    let frames = memory::frames();
    let (total, free) = (frames.total_frames(), frames.free_frames());
    let kept = kept_by_cpus();
    let of_kernel = |region: &&Region| matches!(region.owner, Owner::Kernel(_));
    let reserved: u64 = boot.map.regions().iter().filter(of_kernel).map(|region| region.range.len()).sum();
    console::print(format_args!(
        "{total} frames ({} KiB) are the allocator's, {free} free",
        total as u64 * FRAME_KIB
    ));
    console::print(format_args!(
        "{kept} of the others are kept in magazines of CPUs, {} are in use",
        total.saturating_sub(free + kept)
    ));
    console::print(format_args!(
        "{} KiB of tables of the allocator, {} KiB that the kernel has taken from the map; see `mem map`",
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
    console::print(format_args!("free frames, by the largest order at which they can be handed out:"));
    for arena in memory::frames().zone_stats() {
        let name = arena.name.unwrap_or(ZoneId { node: NodeId(0), zone_type: ZoneType::Normal });
        console::print(format_args!(
            "node {} {:<6} {:>9} of {:>9} frames:{}",
            name.node.0,
            name.zone_type.name(),
            arena.free,
            arena.total,
            ByOrder(arena.free_by_order)
        ));
    }
    for cpu in smp::online() {
        console::print(format_args!("cpu {:>4} keeps {:>4} frames", cpu.id().0, kept_by(cpu.id())));
    }
}

/// Frees the frames that online CPUs keep. A CPU that cannot be called keeps its own.
///
/// **Context:** thread, interrupts on.
pub fn drain_cpus() {
    let drain = || memory::drain_this_cpu(&IrqGuard::new());
    if let Err(error) = smp::call_online(&smp::all_online(), &drain) {
        log::warn!("frames that CPUs keep: {error}");
    }
}

/// How many free frames the CPUs keep.
fn kept_by_cpus() -> usize {
    smp::online().map(|cpu| kept_by(cpu.id())).sum()
}

/// What a CPU keeps, of which it alone can tell; none if it does not answer, which the call says.
fn kept_by(cpu: CpuId) -> usize {
    let kept = AtomicUsize::new(0);
    let asked = smp::call(&CpuSet::of(cpu), &|| {
        kept.store(memory::cached_by_this_cpu(&IrqGuard::new()), Ordering::Relaxed);
    });
    asked.map_or(0, |()| kept.into_inner())
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
    let way = translate_live(address);
    for step in &way.steps {
        console::print(format_args!(
            "level {}: table {:#014x}, entry {:>3}: {:#018x}{}",
            step.level,
            step.table,
            step.index,
            step.entry.0,
            if step.is_present() { "" } else { ", not present" }
        ));
    }
    match way.page {
        Some(page) => {
            console::print(format_args!("{address:#x} is physical {:#x}: {}", page.physical, Rights(page)))
        }
        None => console::print(format_args!("{address:#x} is not mapped")),
    }
    Ok(())
}

/// What can be done with a page.
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
            if page.access.user { ", for ring 3 too" } else { "" },
            if page.global { "global" } else { "not global" },
            page.memory_type.name(),
            page.pat_index
        )
    }
}
