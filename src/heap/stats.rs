//! Counts of the heap, and the check of its tables.

use core::fmt;
use core::sync::atomic::Ordering;

use super::allocator::Heap;
use super::backing::Backing;
use super::large_counts::LargeCounts;
use super::magazines::{Loaded, Magazines, Word};
use super::size_class::SizeClass;
use super::slab::Slab;

/// The objects of one class on one node. Exact while no CPU allocates or frees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClassStats {
    /// The node of the depot.
    pub(crate) node: usize,
    /// The class.
    pub(crate) class: SizeClass,
    /// How many slabs it has.
    pub(crate) slabs: usize,
    /// Objects that are allocated or in a magazine, of this depot's slabs.
    pub(crate) taken: usize,
    /// Objects in the magazines of the depot, of any depot's slabs.
    pub(crate) in_depot: usize,
    /// The mean of the bytes that allocations asked for, in 256ths of a byte: of those that came to the depot, since boot.
    mean_request: u64,
}

impl ClassStats {
    /// The bytes of the slabs.
    pub(crate) const fn bytes(&self) -> usize {
        self.slabs * self.class.slab_bytes()
    }

    /// Objects in the slabs.
    pub(crate) const fn free(&self) -> usize {
        (self.slabs * self.class.objects()).saturating_sub(self.taken)
    }

    /// Objects that are allocated, if so many of this depot's slabs are in magazines.
    pub(crate) const fn live(&self, cached: usize) -> usize {
        self.taken.saturating_sub(cached)
    }

    /// The bytes of the slabs that are neither allocated nor in a magazine: those of free objects, and those behind the last object of
    /// a slab.
    pub(crate) const fn slab_waste(&self) -> usize {
        self.bytes().saturating_sub(self.taken * self.class.size())
    }

    /// The bytes of so many allocated objects that programs have not asked for. An estimate, from the allocations that came to the depot.
    pub(crate) const fn internal_waste(&self, live: usize) -> usize {
        let mean = ((self.class.size() as u64) << MEAN_SHIFT).saturating_sub(self.mean_request);
        ((live as u64).saturating_mul(mean) >> MEAN_SHIFT) as usize
    }
}

/// The fraction bits of a mean.
const MEAN_SHIFT: u32 = 8;

/// Large objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LargeStats {
    /// How many there are.
    pub(crate) objects: usize,
    /// The bytes that programs have asked for.
    pub(crate) bytes: usize,
    /// The frames of all.
    pub(crate) frames: usize,
}

/// Why the tables of the heap are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inconsistent {
    /// The bitmap of a slab of this class has another number of objects than its state word.
    Slab(SizeClass),
    /// A depot of this class has another number of slabs with all of their objects than it has counted.
    Whole(SizeClass),
    /// The slabs of a depot of this class lack more objects than are taken.
    Taken(SizeClass),
}

impl Inconsistent {
    /// What is wrong, in words.
    pub(crate) const fn message(&self) -> &'static str {
        match self {
            Inconsistent::Slab(_) => "the bitmap and the state word of a slab differ",
            Inconsistent::Whole(_) => "the number of whole slabs of a depot is wrong",
            Inconsistent::Taken(_) => "the number of objects taken from a depot is wrong",
        }
    }
}

impl fmt::Display for Inconsistent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Inconsistent::Slab(class) | Inconsistent::Whole(class) | Inconsistent::Taken(class)) = self;
        write!(f, "heap: {}, of objects of {} bytes", self.message(), class.size())
    }
}

impl core::error::Error for Inconsistent {}

impl<B: Backing> Heap<B> {
    /// The counts of each class on each node that has slabs or cached objects.
    pub(crate) fn class_stats(&self) -> impl Iterator<Item = ClassStats> {
        let nodes = 0..self.nodes();
        let all = nodes.flat_map(|node| SizeClass::all().map(move |class| (node, class)));
        all.filter_map(|(node, class)| {
            let depot = self.depot(node, class)?;
            let (slabs, taken, in_depot, requests) =
                depot.with(|stock| (stock.slab_count, stock.taken, stock.cached(class), stock.requests));
            // Before the first one nothing is known, and nothing is counted as waste.
            let mean = (requests.bytes << MEAN_SHIFT).checked_div(requests.count);
            let mean_request = mean.unwrap_or((class.size() as u64) << MEAN_SHIFT);
            let stats = ClassStats { node, class, slabs, taken, in_depot, mean_request };
            (slabs > 0 || in_depot > 0).then_some(stats)
        })
    }

    /// Passes how many objects of each class and node a CPU has cached, in parts, to `found`. The node is that of their slabs.
    ///
    /// **Context:** as for [`alloc`](Self::alloc).
    pub(crate) fn each_cached(&self, cpu: &Magazines, mut found: impl FnMut(usize, SizeClass, usize)) {
        for class in SizeClass::all() {
            for loaded in [cpu.loaded(class), cpu.previous(class)] {
                // SAFETY: the magazine is this CPU's, and nothing changes it during this call.
                self.each_of(class, unsafe { loaded.objects() }, &mut found);
            }
        }
    }

    /// The same of what all depots have in magazines.
    pub(crate) fn each_in_depots(&self, mut found: impl FnMut(usize, SizeClass, usize)) {
        for (depot, class) in self.depots() {
            depot.with(|stock| {
                for magazine in stock.full() {
                    // SAFETY: the magazine is in the depot, which is locked.
                    self.each_of(class, unsafe { Loaded::full(magazine, class).objects() }, &mut found);
                }
            });
        }
    }

    fn each_of(&self, class: SizeClass, objects: &[Word], found: &mut impl FnMut(usize, SizeClass, usize)) {
        if self.nodes() == 1 {
            return found(0, class, objects.len());
        }
        // An object that was freed twice may have no slab any more.
        let nodes = objects.iter().filter_map(|object| Some(self.slab_of(class, *object)?.1));
        nodes.for_each(|node| found(node, class, 1));
    }

    /// The large objects.
    pub(crate) fn large_stats(&self) -> LargeStats {
        let LargeCounts { objects, bytes, frames } = &self.large;
        let [objects, bytes, frames] = [objects, bytes, frames].map(|count| count.load(Ordering::Relaxed));
        LargeStats { objects, bytes, frames }
    }

    /// Frames of magazines and of the records of slabs.
    pub(crate) fn metadata_frames(&self) -> usize {
        self.chunks.lock().frames()
    }

    /// Checks the tables. Exact while no CPU allocates or frees.
    ///
    /// # Errors
    /// The first inconsistency.
    pub(crate) fn validate(&self) -> Result<(), Inconsistent> {
        for (depot, class) in self.depots() {
            depot.with(|stock| {
                let (mut whole, mut missing, mut count) = (0, 0, 0);
                for slab in stock.slabs.iter() {
                    // SAFETY: slabs in the list are valid, and the depot is locked.
                    if !unsafe { Slab::is_consistent(slab) } {
                        return Err(Inconsistent::Slab(class));
                    }
                    // SAFETY: slabs in the list are valid, and the depot is locked.
                    let state = unsafe { Slab::state(slab) };
                    whole += usize::from(state.is_whole());
                    missing += class.objects() - state.free();
                    count += 1;
                }
                if whole != stock.whole {
                    return Err(Inconsistent::Whole(class));
                }
                // Of slabs without objects, which are not in the list, all are taken.
                let full = (stock.slab_count - count) * class.objects();
                if missing + full != stock.taken { Err(Inconsistent::Taken(class)) } else { Ok(()) }
            })?;
        }
        Ok(())
    }
}
