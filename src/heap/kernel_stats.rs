//! The counts of the kernel's heap: [`HeapCounts`].

use core::sync::atomic::{AtomicU64, Ordering};

use super::instance::{HEAP, HELD};
use super::kernel::active_magazines;
use super::size_class::{CLASSES, SizeClass};
use super::stats::{ClassStats, LargeStats};
use crate::cpu::{CpuId, IrqGuard, current};
use crate::memory::ZeroedSlice;
use crate::smp;

/// What the heap has, as counted by [`take`](Self::take). Exact if no CPU allocates or frees meanwhile.
pub(crate) struct HeapCounts {
    /// Objects in magazines, by the node of their slabs and by class.
    by_node: ZeroedSlice<AtomicU64>,
    /// Objects in magazines, by the CPU that has them and by class.
    by_cpu: ZeroedSlice<AtomicU64>,
}

/// The objects of a class of a node.
pub(crate) struct ClassCounts {
    /// What the depot counts.
    pub(crate) stats: ClassStats,
    /// Objects in magazines, of CPUs and of depots.
    pub(crate) cached: usize,
}

impl ClassCounts {
    /// Allocated objects.
    pub(crate) fn live(&self) -> usize {
        self.stats.live(self.cached)
    }
}

impl HeapCounts {
    /// Counts. Each CPU counts its own magazines, as no other may read them; a CPU that cannot be called is left out, which is logged. The frames
    /// for the counts are freed by the drop. `None` without memory for them.
    ///
    /// **Context:** thread, interrupts on. It waits for the other CPUs.
    pub(crate) fn take() -> Option<HeapCounts> {
        let by_node = ZeroedSlice::new(HEAP.nodes() * CLASSES)?;
        let by_cpu = ZeroedSlice::new(smp::cpus().len() * CLASSES)?;
        let counts = HeapCounts { by_node, by_cpu };
        HEAP.each_in_depots(|node, class, objects| add(&counts.by_node, node, class, objects));
        let of_this_cpu = || {
            let guard = IrqGuard::new();
            let Some(magazines) = active_magazines(&guard) else { return };
            HEAP.each_cached(magazines, |node, class, objects| {
                add(&counts.by_node, node, class, objects);
                add(&counts.by_cpu, current().index(), class, objects);
            });
        };
        if let Err(error) = smp::call_online(&smp::all_online(), &of_this_cpu) {
            log::warn!("objects cached on other CPUs: {error}");
        }
        Some(counts)
    }

    /// The classes of each node that have slabs or full magazines.
    pub(crate) fn classes(&self) -> impl Iterator<Item = ClassCounts> {
        HEAP.class_stats().map(|stats| {
            let cached = self.by_node.get(stats.node * CLASSES + stats.class.index());
            ClassCounts { stats, cached: cached.map_or(0, |count| count.load(Ordering::Relaxed) as usize) }
        })
    }

    /// The objects of each class that a CPU has in its magazines, where there are any.
    pub(crate) fn cached_by(&self, cpu: CpuId) -> impl Iterator<Item = (SizeClass, u64)> {
        let first = cpu.index() * CLASSES;
        let counts = self.by_cpu.get(first..first + CLASSES).unwrap_or_default();
        let classes = SizeClass::all().zip(counts);
        classes.map(|(class, count)| (class, count.load(Ordering::Relaxed))).filter(|(_, count)| *count > 0)
    }

    /// The large objects.
    pub(crate) fn large(&self) -> LargeStats {
        HEAP.large_stats()
    }

    /// Frames of slabs, large objects, magazines and records of slabs.
    pub(crate) fn frames_held(&self) -> usize {
        HELD.load(Ordering::Relaxed)
    }

    /// Frames of magazines and records of slabs.
    pub(crate) fn metadata_frames(&self) -> usize {
        HEAP.metadata_frames()
    }
}

fn add(counts: &[AtomicU64], row: usize, class: SizeClass, objects: usize) {
    if let Some(count) = counts.get(row * CLASSES + class.index()) {
        count.fetch_add(objects as u64, Ordering::Relaxed);
    }
}
