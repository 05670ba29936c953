//! The drain of other CPUs' frame caches, by call: the hook of `memory::reclaim`.

use core::sync::atomic::Ordering;

use super::{Cpu, call_those_online, cpus, other_online};
use crate::cpu::{self, CpuSet, IrqGuard};
use crate::memory;
use crate::memory::DrainScope;
use crate::memory::cache::{Reclaimable, RemoteMagazine};
use crate::memory::frames::Order;

pub fn register() {
    memory::set_drain_hook(drain_others);
}

/// Makes the CPUs of that scope drain their frame caches, and waits for them. A CPU that does not answer keeps its frames, and the error names
/// it; a CPU that goes offline drains its cache by itself. Returns `false` if a drain would not free a run of that order.
///
/// **Context:** thread context, interrupts enabled.
fn drain_others(order: Order, scope: DrainScope) -> bool {
    #[cfg(feature = "faults")]
    if memory::frames::faults::is_armed(memory::frames::faults::Fault::SkipRemoteDrain) {
        return false;
    }
    let reclaimable = memory::frames().estimate_reclaimable(order, cpus().iter().filter_map(magazine));
    let asked: CpuSet = match (reclaimable, scope) {
        (Reclaimable::Nothing, _) => return false,
        (Reclaimable::Run(run), DrainScope::Holders) => {
            let has_any =
                |cpu: &&Cpu| magazine(cpu).is_some_and(|magazine| magazine.has_any_of(run.start, run.end));
            cpus().iter().filter(|cpu| cpu.id() != cpu::current()).filter(has_any).map(Cpu::id).collect()
        }
        (Reclaimable::Run(_) | Reclaimable::Unknown, _) => {
            other_online().iter().filter(|cpu| has_cached_frames(&cpus()[cpu.index()])).collect()
        }
    };
    if let Err(error) = call_those_online(&asked, &|| memory::drain_this_cpu(&IrqGuard::new())) {
        log::warn!("frames cached on other CPUs: {error}");
    }
    true
}

/// The magazine of a CPU, online or offline, if the CPU was ever started.
fn magazine(cpu: &Cpu) -> Option<RemoteMagazine> {
    // SAFETY: only `start` sets a GS base, to that of an area that is never freed.
    cpu.gs_base().map(|gs_base| unsafe { memory::magazine_of(gs_base) })
}

fn has_cached_frames(cpu: &Cpu) -> bool {
    cpu.get(memory::CACHE_NONEMPTY).is_some_and(|keeps| keeps.load(Ordering::Acquire) != 0)
}
