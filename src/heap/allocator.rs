//! The heap: [`Heap`]. Allocation and free through a CPU's magazines, and the check of a free.
//!
//! **Context.** Thread or interrupt context, interrupts disabled: a handler that allocates uses the same magazines. Nothing waits, except for the
//! locks of depots, chunks and zones, each of which is held for a bounded time. No lock is held while another depot's is taken.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use super::backing::Backing;
use super::chunks::Chunks;
use super::depot::Depot;
#[cfg(feature = "faults")]
use super::faults;
use super::large_counts::LargeCounts;
use super::magazines::Magazines;
use super::map::{GRANULE, Kind, Map, frames_of_entry};
use super::mark::{has_word, mark_allocated, replace_word};
use super::misuse::Misuse;
use super::size_class::{CLASSES, SizeClass};
use super::sync::{Lock, place};
use crate::memory::frames::FRAME_SHIFT;

/// A heap on the frames of a [`Backing`].
pub(crate) struct Heap<B> {
    pub(super) backing: B,
    pub(super) map: Map,
    depots: AtomicPtr<Depot>,
    nodes: AtomicUsize,
    pub(super) chunks: Lock<Chunks>,
    pub(super) large: LargeCounts,
    /// Whether new slabs are filled with [`FREE_BYTE`](super::mark::FREE_BYTE).
    pub(super) fills_slabs: AtomicBool,
}

/// The alignment of the memory for [`Heap::init`].
pub(crate) const METADATA_ALIGN: usize = align_of::<Depot>();

impl<B: Backing> Heap<B> {
    /// A heap that fails until [`init`](Self::init).
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) const fn new(backing: B) -> Self {
        Self::with(backing, Lock::new(Chunks::new()))
    }

    /// A heap that fails until [`init`](Self::init). In a model, locks are made at run time.
    #[cfg(any(loom, shuttle))]
    pub(crate) fn new(backing: B) -> Self {
        Self::with(backing, Lock::new(Chunks::new()))
    }

    const fn with(backing: B, chunks: Lock<Chunks>) -> Self {
        Heap {
            backing,
            map: Map::new(),
            depots: AtomicPtr::new(core::ptr::null_mut()),
            nodes: AtomicUsize::new(0),
            chunks,
            large: LargeCounts::new(),
            fills_slabs: AtomicBool::new(false),
        }
    }

    /// The bytes of metadata for this many nodes and memory that ends at that offset.
    pub(crate) const fn metadata_bytes(nodes: usize, end: usize) -> usize {
        nodes * CLASSES * size_of::<Depot>() + Map::bytes(end)
    }

    /// Sets the heap up. `secret` is a random word that marks free objects.
    ///
    /// # Safety
    /// `memory` has [`metadata_bytes`](Self::metadata_bytes) bytes, is aligned to [`METADATA_ALIGN`], writable, and nothing else's as long as
    /// the heap is used. This is called once, before anything is allocated.
    pub(crate) unsafe fn init(&self, memory: NonNull<u8>, nodes: usize, secret: u64) {
        // SAFETY: the memory begins with the depots, guaranteed by the caller (see # Safety).
        let depots = unsafe { place(memory, nodes * CLASSES, Depot::new) };
        // SAFETY: the map follows the depots within the memory.
        let map = unsafe { memory.add(nodes * CLASSES * size_of::<Depot>()) };
        self.depots.store(depots.as_ptr().cast_mut(), Ordering::Relaxed);
        self.nodes.store(nodes, Ordering::Relaxed);
        // SAFETY: the rest of the memory has the size of the map, guaranteed by the caller (see # Safety).
        unsafe { self.map.init(map, self.backing.base(), self.backing.end(), secret) };
    }

    /// Fills new slabs from now on, as a [`CheckedHeap`](super::checked::CheckedHeap) needs it. Before anything is allocated.
    pub(crate) fn fill_slabs(&self) {
        self.fills_slabs.store(true, Ordering::Relaxed);
    }

    /// How many nodes it has depots for. 0 before [`init`](Self::init).
    pub(super) fn nodes(&self) -> usize {
        if self.map.is_initialised() { self.nodes.load(Ordering::Relaxed) } else { 0 }
    }

    /// The depot of a class on a node. `None` before [`init`](Self::init).
    pub(super) fn depot(&self, node: usize, class: SizeClass) -> Option<&Depot> {
        let nodes = self.nodes();
        if nodes == 0 {
            return None;
        }
        let index = node.min(nodes - 1) * CLASSES + class.index();
        // SAFETY: `init` has placed a depot for each class of each node, and the index is below their number.
        let depot = unsafe { self.depots.load(Ordering::Relaxed).add(index) };
        // SAFETY: `init` has placed the depot there. Depots are never freed while the heap is used.
        Some(unsafe { &*depot })
    }

    /// Allocates an object. `None` if there is no memory.
    ///
    /// **Context:** as for the [module](self). `cpu` is used by no other code meanwhile.
    #[inline(always)]
    pub(crate) fn alloc(&self, cpu: &Magazines, layout: Layout) -> Option<NonNull<u8>> {
        let object = match SizeClass::of(layout) {
            Some(class) => {
                cpu.pop(class).or_else(|| self.refill(cpu, class, layout.size())).inspect(|object| {
                    // SAFETY: an object is free until it is returned, and has 8 bytes or more, aligned to 8.
                    unsafe { mark_allocated(*object) };
                })
            }
            None => self.alloc_large(layout),
        };
        #[cfg(feature = "faults")]
        let object = object.map(|object| faults::returned(object, layout));
        object
    }

    /// What a refused free results in.
    #[cold]
    #[inline(never)]
    fn refused(&self, cpu: &Magazines, object: NonNull<u8>, layout: Layout) -> Result<(), Misuse> {
        let misuse = self.misuse(object, layout);
        #[cfg(feature = "faults")]
        if faults::accepts(&misuse)
            && let Some(class) = SizeClass::of(layout)
        {
            return self.put(cpu, class, object);
        }
        #[cfg(feature = "faults")]
        if faults::have_overlaps() && matches!(misuse, Misuse::Interior { .. }) {
            return Ok(());
        }
        let _ = cpu;
        Err(misuse)
    }

    /// Frees an object.
    ///
    /// **Context:** as for [`alloc`](Self::alloc).
    ///
    /// # Errors
    /// [`Misuse`]. If it names another address, that object was freed twice before, which was noticed now; then this one is free.
    ///
    /// # Safety
    /// [`alloc`](Self::alloc) of this heap returned the object for this layout, it has not been freed since, and nothing uses it any more. A free
    /// that the heap is certain to refuse is no violation.
    #[inline(always)]
    pub(crate) unsafe fn dealloc(
        &self,
        cpu: &Magazines,
        object: NonNull<u8>,
        layout: Layout,
    ) -> Result<(), Misuse> {
        let Some(class) = SizeClass::of(layout) else {
            // SAFETY: the object is one of this heap for this layout that nothing uses any more, guaranteed by the caller (see # Safety).
            return unsafe { self.dealloc_large(object, layout) };
        };
        if !self.map.has_object(class, object.addr().get()) || !self.mark_free(object) {
            return self.refused(cpu, object, layout);
        }
        self.put(cpu, class, object)
    }

    /// Marks an object as free; whether it was not marked so already.
    #[inline(always)]
    pub(super) fn mark_free(&self, object: NonNull<u8>) -> bool {
        // SAFETY: the object is one of a slab, so it has 8 bytes or more, aligned to 8; and it is free, or its owner frees it.
        unsafe { replace_word(object, self.map.secret()) }
    }

    /// Why a free is refused.
    #[cold]
    #[inline(never)]
    pub(super) fn misuse(&self, object: NonNull<u8>, layout: Layout) -> Misuse {
        let address = object.addr().get();
        match self.map.kind(address) {
            Kind::None => Misuse::Foreign { address },
            Kind::LargeTail => Misuse::Interior { address, size: 0 },
            Kind::Large if !address.is_multiple_of(GRANULE) => Misuse::Interior { address, size: 0 },
            Kind::Freed if address.is_multiple_of(GRANULE) => Misuse::DoubleFree { address },
            Kind::Freed => Misuse::Foreign { address },
            Kind::Large => {
                let size = self.map.entry(address).map_or(0, frames_of_entry) << FRAME_SHIFT;
                Misuse::WrongLayout { address, size, layout }
            }
            Kind::Slab(class) if !class.is_start(address) => Misuse::Interior { address, size: class.size() },
            // SAFETY: an object of a slab has 8 bytes or more, aligned to 8.
            Kind::Slab(_) if unsafe { has_word(object, self.map.secret()) } => Misuse::DoubleFree { address },
            Kind::Slab(class) => Misuse::WrongLayout { address, size: class.size(), layout },
        }
    }

    /// Changes the size of an object without moving it; whether that is possible. A large object shrinks, and grows into what its last frames
    /// have left.
    ///
    /// **Context:** as for [`alloc`](Self::alloc).
    ///
    /// # Errors
    /// [`Misuse`]; nothing has changed then.
    ///
    /// # Safety
    /// As for [`dealloc`](Self::dealloc). If this returns `true`, the layout of the object is now that of the new size.
    #[inline(always)]
    pub(crate) unsafe fn resize(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        new: Layout,
    ) -> Result<bool, Misuse> {
        match (SizeClass::of(layout), SizeClass::of(new)) {
            (Some(old), new) => {
                if !self.map.has_object(old, object.addr().get()) {
                    return Err(self.misuse(object, layout));
                }
                Ok(new == Some(old))
            }
            (None, Some(_)) => Ok(false),
            // SAFETY: the object is one of this heap for this layout, guaranteed by the caller (see # Safety).
            (None, None) => unsafe { self.resize_large(object, layout, new) },
        }
    }

    /// Frees an object that is marked as free.
    ///
    /// # Errors
    /// As for [`dealloc`](Self::dealloc).
    #[inline(always)]
    pub(super) fn put(&self, cpu: &Magazines, class: SizeClass, object: NonNull<u8>) -> Result<(), Misuse> {
        if cpu.push(class, object) { Ok(()) } else { self.flush(cpu, class, object) }
    }

    /// The owners of the heap's locks, for a report of the locks that a CPU holds.
    #[cfg(target_os = "none")]
    pub(super) fn lock_owners(&self) -> impl Iterator<Item = &crate::sync::LockOwner> {
        self.depots().map(|(depot, _)| depot.lock_owner()).chain([self.chunks.owner()])
    }

    /// All depots, with their classes.
    pub(super) fn depots(&self) -> impl Iterator<Item = (&Depot, SizeClass)> {
        let nodes = 0..self.nodes();
        nodes.flat_map(move |node| {
            SizeClass::all().filter_map(move |class| Some((self.depot(node, class)?, class)))
        })
    }
}
