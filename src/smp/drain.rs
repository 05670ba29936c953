//! Draining of other CPUs' frame caches by calls: the hook of `memory::reclaim`.

use core::sync::atomic::Ordering;

use super::{Cpu, call_online, cpus, other_online, scheduler, shootdown};
use crate::cpu::{self, CpuId, CpuSet, IrqGuard};
use crate::memory;
use crate::memory::cache::{Reclaimable, RemoteMagazine};
use crate::memory::frames::{FrameNumber, Order, Stolen};
use crate::memory::{DrainScope, RemoteCaches};

/// Registers the hook. Once, on the BSP.
pub(crate) fn register() {
    memory::set_drain_hook(RemoteCaches { steal: steal_blocks, drain: drain_others, fills });
}

/// Takes whole blocks that a CPU caches, online or offline.
///
/// **Context:** any but NMI, interrupts disabled.
fn steal_blocks(order: Order) -> Stolen {
    memory::frames().steal_blocks(order, cpus().iter().filter_map(magazine))
}

/// Returns the sum of how often CPUs, online or offline, have filled their caches.
///
/// **Context:** any.
fn fills() -> usize {
    cpus().iter().filter_map(magazine).fold(0, |sum, magazine| sum.wrapping_add(magazine.fills()))
}

/// Frees the stacks that are kept for new threads and the frames of mappings that were dropped, then makes the CPUs of that scope
/// drain their frame caches, and waits for them. A CPU that does not respond keeps its frames and is logged. A CPU that goes
/// offline drains its cache by itself. Returns `false` if nothing was freed and a drain would not free contiguous frames of that
/// order.
///
/// **Context:** thread context, interrupts enabled.
fn drain_others(order: Order, scope: DrainScope) -> bool {
    #[cfg(feature = "faults")]
    if memory::frames::faults::is_armed(memory::frames::faults::FrameFault::SkipRemoteDrain) {
        return false;
    }
    scheduler::release_stacks();
    let has_flushed = memory::waiting_pages() > 0 && shootdown::flush_unmapped().is_ok_and(|pages| pages > 0);
    let frames = memory::frames();
    let estimate = frames.estimate_reclaimable(order, cpus().iter().filter_map(magazine));
    let reclaimable = estimate.reclaimable;
    if estimate.repeated {
        memory::note_shortage();
    }
    let range = match &reclaimable {
        Reclaimable::Run(run) if scope == DrainScope::Holders => run.clone(),
        _ => FrameNumber::new(0)..frames.end(),
    };
    frames.reclaim_blocks(range, cpus().iter().filter_map(magazine));
    let targets: CpuSet = match (reclaimable, scope) {
        (Reclaimable::Nothing, _) => return has_flushed,
        (Reclaimable::Run(run), DrainScope::Holders) => {
            let has_any =
                |cpu: &&Cpu| magazine(cpu).is_some_and(|magazine| magazine.has_any_of(run.start, run.end));
            cpus().iter().filter(|cpu| cpu.id() != cpu::current()).filter(has_any).map(Cpu::id).collect()
        }
        // The frames in flight are found by another search.
        (Reclaimable::Unknown, DrainScope::Holders) => return true,
        (Reclaimable::Run(_) | Reclaimable::Unknown, DrainScope::Some(most)) => {
            let has_cached = |cpu: &CpuId| has_cached_frames(&cpus()[cpu.index()]);
            other_online().iter().filter(has_cached).take(most).collect()
        }
    };
    if !targets.is_empty() {
        memory::note_shortage();
    }
    if let Err(error) = call_online(&targets, &|| memory::drain_for_shortage(&IrqGuard::new())) {
        log::warn!("frames cached on other CPUs: {error}");
    }
    true
}

/// Returns the magazine of a CPU, online or offline, if the CPU was ever started.
fn magazine(cpu: &Cpu) -> Option<RemoteMagazine> {
    // SAFETY: the area is never freed: only `bring_up` sets a GS base, to that of an area of `CpuAreas`.
    cpu.gs_base().map(|gs_base| unsafe { memory::magazine_of(gs_base) })
}

fn has_cached_frames(cpu: &Cpu) -> bool {
    cpu.get(memory::CACHE_NONEMPTY).is_some_and(|nonempty| nonempty.load(Ordering::Acquire) != 0)
}
