//! The heap: [`Heap`]. Allocation and free through a CPU's magazines, and what lies behind them.
//!
//! **Context.** Thread or interrupt context, interrupts disabled: a handler that allocates uses the same magazines. Nothing waits, except for the
//! locks of depots, chunks and zones, each of which is held for a bounded time. No lock is held while another depot's is taken.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use super::backing::{Backing, order_of_bytes};
use super::chunks::Chunks;
use super::depot::Depot;
#[cfg(feature = "faults")]
use super::faults::{self, HeapFault};
use super::magazines::{Loaded, Magazine, Magazines, Word};
use super::map::{GRANULE, Kind, Map, frames_of_entry};
use super::mark::{FREE_BYTE, has_word, mark_allocated, replace_word};
use super::misuse::Misuse;
use super::size_class::{CLASSES, SizeClass};
use super::slab::{Slab, SlabList};
use super::sync::{Lock, place};
use crate::memory::frames::{FRAME_BYTES, FRAME_SHIFT};

/// A heap on the frames of a [`Backing`].
pub struct Heap<B> {
    pub(super) backing: B,
    pub(super) map: Map,
    depots: AtomicPtr<Depot>,
    nodes: AtomicUsize,
    pub(super) chunks: Lock<Chunks>,
    pub(super) large: LargeCounts,
    /// Whether new slabs are filled with [`FREE_BYTE`].
    fills_slabs: AtomicBool,
}

/// Counts of large objects.
pub(super) struct LargeCounts {
    pub(super) objects: AtomicUsize,
    /// The bytes that programs have asked for.
    pub(super) bytes: AtomicUsize,
    /// The frames of all.
    pub(super) frames: AtomicUsize,
}

impl LargeCounts {
    const fn new() -> LargeCounts {
        LargeCounts { objects: AtomicUsize::new(0), bytes: AtomicUsize::new(0), frames: AtomicUsize::new(0) }
    }

    /// Counts an object of so many bytes in so many frames.
    pub(super) fn add(&self, bytes: usize, frames: usize) {
        self.objects.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.frames.fetch_add(frames, Ordering::Relaxed);
    }

    /// Counts the end of an object.
    pub(super) fn remove(&self, bytes: usize, frames: usize) {
        self.objects.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.frames.fetch_sub(frames, Ordering::Relaxed);
    }
}

/// The alignment of the memory for [`Heap::init`].
pub const METADATA_ALIGN: usize = align_of::<Depot>();

impl<B: Backing> Heap<B> {
    /// A heap that fails until [`init`](Self::init).
    #[cfg(not(any(loom, shuttle)))]
    pub const fn new(backing: B) -> Self {
        Self::with(backing, Lock::new(Chunks::new()))
    }

    /// A heap that fails until [`init`](Self::init). In a model, locks are made at run time.
    #[cfg(any(loom, shuttle))]
    pub fn new(backing: B) -> Self {
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
    pub const fn metadata_bytes(nodes: usize, end: usize) -> usize {
        nodes * CLASSES * size_of::<Depot>() + Map::bytes(end)
    }

    /// Sets the heap up. `secret` is a random word that marks free objects.
    ///
    /// # Safety
    /// `memory` has [`metadata_bytes`](Self::metadata_bytes) bytes, is aligned to [`METADATA_ALIGN`], writable, and nothing else's as long as
    /// the heap is used. This is called once, before anything is allocated.
    pub unsafe fn init(&self, memory: NonNull<u8>, nodes: usize, secret: u64) {
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
    pub fn fill_slabs(&self) {
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
    pub fn alloc(&self, cpu: &Magazines, layout: Layout) -> Option<NonNull<u8>> {
        let object = match SizeClass::of(layout) {
            Some(class) => self.alloc_class(cpu, class, layout.size()),
            None => self.alloc_large(layout),
        };
        #[cfg(feature = "faults")]
        let object = object.map(|object| faults::returned(object, layout));
        object
    }

    /// Allocates an object of a class, of which the caller uses `size` bytes.
    #[inline(always)]
    pub(super) fn alloc_class(&self, cpu: &Magazines, class: SizeClass, size: usize) -> Option<NonNull<u8>> {
        let object = match cpu.pop(class) {
            Some(object) => object,
            None => self.refill(cpu, class, size)?,
        };
        // SAFETY: an object is free until it is returned, and has 8 bytes or more, aligned to 8.
        unsafe { mark_allocated(object) };
        Some(object)
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
            return if cpu.push(class, object) { Ok(()) } else { self.flush(cpu, class, object) };
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
    pub unsafe fn dealloc(&self, cpu: &Magazines, object: NonNull<u8>, layout: Layout) -> Result<(), Misuse> {
        let Some(class) = SizeClass::of(layout) else {
            // SAFETY: guaranteed by the caller (see # Safety).
            return unsafe { self.dealloc_large(object, layout) };
        };
        if !self.map.has_object(class, object.addr().get()) || !self.mark_free(object) {
            return self.refused(cpu, object, layout);
        }
        if cpu.push(class, object) { Ok(()) } else { self.flush(cpu, class, object) }
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
            Kind::Large if !address.is_multiple_of(FRAME_BYTES << 3) => Misuse::Interior { address, size: 0 },
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
    pub unsafe fn resize(&self, object: NonNull<u8>, layout: Layout, new: Layout) -> Result<bool, Misuse> {
        match (SizeClass::of(layout), SizeClass::of(new)) {
            (Some(old), new) => {
                if !self.map.has_object(old, object.addr().get()) {
                    return Err(self.misuse(object, layout));
                }
                Ok(new == Some(old))
            }
            (None, Some(_)) => Ok(false),
            // SAFETY: guaranteed by the caller (see # Safety).
            (None, None) => unsafe { self.resize_large(object, layout, new) },
        }
    }

    /// [`alloc`](Self::alloc) when the loaded magazine is empty.
    #[cold]
    #[inline(never)]
    fn refill(&self, cpu: &Magazines, class: SizeClass, size: usize) -> Option<NonNull<u8>> {
        let previous = cpu.previous(class);
        if previous.len() > 0 {
            cpu.exchange(class);
            return cpu.pop(class);
        }
        let depot = self.depot(cpu.node(), class)?;
        let full = depot.with(|stock| {
            stock.requests.add(size);
            // SAFETY: the previous magazine is this CPU's, and empty.
            unsafe { stock.take_full(previous.magazine()) }
        });
        if let Ok(full) = full {
            cpu.set_previous(class, cpu.loaded(class));
            cpu.load(class, Loaded::full(full, class));
            return cpu.pop(class);
        }
        if cpu.loaded(class) == Loaded::NONE
            && let Some(magazine) = self.new_magazine(depot, class)
        {
            cpu.load(class, Loaded::empty(magazine));
        }
        self.fill(cpu, depot, class)
    }

    /// Fills the loaded magazine from the slabs and takes one object. Without a magazine it takes one object from a slab.
    fn fill(&self, cpu: &Magazines, depot: &Depot, class: SizeClass) -> Option<NonNull<u8>> {
        let loaded = cpu.loaded(class);
        for is_last in [false, true] {
            let (mut top, mut object) = (loaded.top, None);
            depot.with(|stock| {
                if loaded == Loaded::NONE {
                    stock.take(1, |taken| object = Some(taken))
                } else {
                    #[cfg(feature = "faults")]
                    let mut before = None;
                    stock.take(class.rounds(), |taken| {
                        #[cfg(feature = "faults")]
                        let taken = faults::taken(taken, before.replace(taken), class.size());
                        // SAFETY: an empty magazine has room for so many pointers, and is this CPU's.
                        unsafe { top.write(taken.as_ptr()) };
                        // SAFETY: the word lies in the magazine.
                        top = unsafe { top.add(1) };
                        // Until an object is returned, it is marked.
                        self.mark_free(taken);
                    })
                }
            });
            if object.is_some() {
                return object;
            }
            if top != loaded.top {
                #[cfg(feature = "faults")]
                if faults::strikes_once(HeapFault::HeapAllocateTwice) {
                    // SAFETY: the first word of the magazine has a pointer. The last one to be popped can be allocated elsewhere until then.
                    let _ = self.put_all(class, &[unsafe { loaded.top.read() }]);
                }
                cpu.load(class, Loaded { top, ..loaded });
                return cpu.pop(class);
            }
            if is_last || !self.add_slab(cpu.node(), class) {
                break;
            }
        }
        None
    }

    /// An empty magazine, from the depot or new.
    fn new_magazine(&self, depot: &Depot, class: SizeClass) -> Option<Magazine> {
        let empty = depot.with(|stock| stock.pop_empty());
        empty.or_else(|| self.chunks.lock().alloc(&self.backing, class.magazine()).map(Magazine))
    }

    /// Frees an empty magazine.
    ///
    /// # Safety
    /// It is valid and the caller's alone.
    unsafe fn free_magazine(&self, magazine: Magazine) {
        // SAFETY: `new_magazine` took the chunk from this pool, and it is the caller's alone (see # Safety).
        unsafe { self.chunks.lock().free(&self.backing, magazine.0) };
    }

    /// Makes a slab and adds it to the node's depot; whether there was memory.
    fn add_slab(&self, node: usize, class: SizeClass) -> bool {
        let Some(order) = order_of_bytes(class.slab_bytes()) else { return false };
        let Some(start) = self.backing.alloc(order) else { return false };
        let record = {
            let mut chunks = self.chunks.lock();
            let is_covered = self.map.cover(&mut chunks, start.addr().get() + class.slab_bytes());
            let record = if is_covered { chunks.alloc(&self.backing, class.record()) } else { None };
            record.and_then(|record| {
                if self.map.set_entry(&mut chunks, &self.backing, start.addr().get(), record.as_ptr()) {
                    return Some(record);
                }
                // SAFETY: it was allocated above, and nothing uses it.
                unsafe { chunks.free(&self.backing, record) };
                None
            })
        };
        let Some(record) = record else {
            // SAFETY: the frames were allocated above, and nothing uses them.
            unsafe { self.backing.free(start, order.frames()) };
            return false;
        };
        if self.fills_slabs.load(Ordering::Relaxed) {
            // SAFETY: the frames were allocated above, and nothing uses them.
            unsafe { start.write_bytes(FREE_BYTE, class.slab_bytes()) };
        }
        // SAFETY: the record was allocated above with the size for this class, and the slab begins at `start`.
        let slab = unsafe { Slab::create(record, start, class, node) };
        self.map.set_kind(start, class.slab_bytes(), Kind::Slab(class));
        let Some(depot) = self.depot(node, class) else { return false };
        // SAFETY: the slab is new, and of this depot.
        depot.with(|stock| unsafe { stock.add(slab) });
        true
    }

    /// Frees a slab that no depot has any more, with all of its objects.
    ///
    /// # Safety
    /// The slab is valid and the caller's alone.
    unsafe fn release_slab(&self, slab: NonNull<Slab>) {
        // SAFETY: the slab is valid, guaranteed by the caller (see # Safety).
        let start = unsafe { Slab::start(slab) };
        // SAFETY: the slab is valid and the caller's alone, guaranteed by the caller (see # Safety).
        let state = unsafe { Slab::state(slab) };
        let bytes = state.class().slab_bytes();
        self.map.set_kind(start, bytes, Kind::None);
        {
            let mut chunks = self.chunks.lock();
            self.map.clear_entry(&mut chunks, &self.backing, start.addr().get());
            // SAFETY: `add_slab` allocated the record from this pool, and the map no longer names it.
            unsafe { chunks.free(&self.backing, slab.cast()) };
        }
        // SAFETY: all objects of the slab are free, and nothing names the slab any more.
        unsafe { self.backing.free(start, bytes >> FRAME_SHIFT) };
    }

    /// [`dealloc`](Self::dealloc) when the loaded magazine is full. The object is marked as free.
    #[cold]
    #[inline(never)]
    pub(super) fn flush(&self, cpu: &Magazines, class: SizeClass, object: NonNull<u8>) -> Result<(), Misuse> {
        let previous = cpu.previous(class);
        if previous.has_room(class) {
            cpu.exchange(class);
            return self.push_or_put(cpu, class, object);
        }
        let Some(depot) = self.depot(cpu.node(), class) else {
            return Err(Misuse::Foreign { address: object.addr().get() });
        };
        // The previous magazine is full, or there is none; the same is true of the loaded one.
        let mut result = Ok(());
        let mut empty = None;
        if let Some(full) = previous.magazine() {
            let exchanged = depot.with(|stock| {
                // SAFETY: the magazine is this CPU's, and full.
                unsafe { stock.put_full(class, full) }.then(|| stock.pop_empty())
            });
            match exchanged {
                Some(magazine) => empty = magazine,
                None => {
                    // SAFETY: the magazine is this CPU's, and nothing changes it meanwhile.
                    result = self.put_all(class, unsafe { previous.objects() });
                    empty = Some(full);
                }
            }
        }
        let empty = empty.or_else(|| self.new_magazine(depot, class));
        let loaded = cpu.loaded(class);
        match (empty, loaded.magazine()) {
            (Some(magazine), _) => {
                cpu.set_previous(class, loaded);
                cpu.load(class, Loaded::empty(magazine));
            }
            // Without memory for a magazine, the full one is emptied.
            (None, Some(magazine)) => {
                cpu.set_previous(class, Loaded::NONE);
                // SAFETY: the magazine is this CPU's, and nothing changes it meanwhile.
                result = result.and(self.put_all(class, unsafe { loaded.objects() }));
                cpu.load(class, Loaded::empty(magazine));
            }
            (None, None) => {}
        }
        result.and(self.push_or_put(cpu, class, object))
    }

    /// Puts a free object into the loaded magazine, or without one into its slab.
    fn push_or_put(&self, cpu: &Magazines, class: SizeClass, object: NonNull<u8>) -> Result<(), Misuse> {
        if cpu.push(class, object) { Ok(()) } else { self.put_all(class, &[object.as_ptr()]) }
    }

    /// Puts free objects into their slabs.
    ///
    /// # Errors
    /// The first one that is in its slab already. All others are in theirs.
    fn put_all(&self, class: SizeClass, objects: &[Word]) -> Result<(), Misuse> {
        let mut result = Ok(());
        let mut surplus = SlabList::new();
        #[cfg(feature = "faults")]
        let objects = faults::returning(objects);
        let mut rest = objects;
        while let Some((&first, _)) = rest.split_first() {
            let Some((_, node)) = self.slab_of(class, first) else {
                rest = &rest[1..];
                #[cfg(feature = "faults")]
                if faults::have_overlaps() {
                    continue;
                }
                result = result.and(Err(Misuse::DoubleFree { address: first.addr() }));
                continue;
            };
            // A slab is in a depot that there is.
            let Some(depot) = self.depot(node, class) else { break };
            let mut done = 0;
            depot.with(|stock| {
                for &object in rest {
                    let Some((slab, of_node)) = self.slab_of(class, object) else { break };
                    if of_node != node {
                        break;
                    }
                    done += 1;
                    let Some(object) = NonNull::new(object) else { continue };
                    // SAFETY: the slab is that of the object, which `dealloc` has found to be a whole one.
                    match unsafe { stock.put(slab, object) } {
                        Ok(None) => {}
                        // SAFETY: the slab is in no list.
                        Ok(Some(slab)) => unsafe { surplus.insert(slab, true) },
                        Err(_) => {
                            result = result.and(Err(Misuse::DoubleFree { address: object.addr().get() }));
                        }
                    }
                }
            });
            rest = &rest[done..];
        }
        self.release_all(surplus);
        result
    }

    /// The slab of an object, and its node. `None` if it was released: the object was freed twice.
    pub(super) fn slab_of(&self, class: SizeClass, object: Word) -> Option<(NonNull<Slab>, usize)> {
        if !self.map.has_object(class, object.addr()) {
            return None;
        }
        // The entry is that of the first granule.
        let start = object.addr() & !(class.slab_bytes() - 1);
        let slab = self.map.entry(start)?.cast::<Slab>();
        // SAFETY: the entry of a slab is its record, which is valid as long as one of its objects is taken.
        Some((slab, unsafe { Slab::state(slab) }.node()))
    }

    /// Releases the slabs of a list.
    fn release_all(&self, mut slabs: SlabList) {
        while let Some(slab) = slabs.first() {
            // SAFETY: it is in the list, which is this call's alone.
            unsafe { slabs.remove(slab) };
            #[cfg(feature = "faults")]
            if faults::strikes(HeapFault::HeapLeakSlab) {
                continue;
            }
            // SAFETY: the slab was taken out of its depot with all of its objects.
            unsafe { self.release_slab(slab) };
        }
    }

    /// Returns everything that the CPU has cached to the slabs, and frees its magazines.
    ///
    /// **Context:** as for [`alloc`](Self::alloc).
    ///
    /// # Errors
    /// The first object that was freed twice. The magazines are empty nevertheless.
    pub fn drain(&self, cpu: &Magazines) -> Result<(), Misuse> {
        let mut result = Ok(());
        for class in SizeClass::all() {
            let magazines = [cpu.loaded(class), cpu.previous(class)];
            cpu.load(class, Loaded::NONE);
            cpu.set_previous(class, Loaded::NONE);
            for loaded in magazines {
                let Some(magazine) = loaded.magazine() else { continue };
                // SAFETY: the CPU no longer uses the magazine.
                result = result.and(self.put_all(class, unsafe { loaded.objects() }));
                // SAFETY: the CPU no longer uses the magazine.
                unsafe { self.free_magazine(magazine) };
            }
        }
        result
    }

    /// Returns the objects of all depots to the slabs, and frees magazines, and slabs with all of their objects.
    ///
    /// **Context:** as for [`alloc`](Self::alloc). It takes a time that grows with what the depots have.
    ///
    /// # Errors
    /// The first object that was freed twice.
    pub fn drain_depots(&self) -> Result<(), Misuse> {
        let mut result = Ok(());
        // All objects first: those of a node may be in a slab of another.
        for (depot, class) in self.depots() {
            while let Some(magazine) = depot.with(|stock| stock.pop_full()) {
                let full = Loaded::full(magazine, class);
                // SAFETY: the depot no longer has the magazine.
                result = result.and(self.put_all(class, unsafe { full.objects() }));
                // SAFETY: the depot no longer has the magazine.
                unsafe { self.free_magazine(magazine) };
            }
        }
        for (depot, _) in self.depots() {
            while let Some(magazine) = depot.with(|stock| stock.pop_empty()) {
                // SAFETY: the depot no longer has the magazine.
                unsafe { self.free_magazine(magazine) };
            }
            while let Some(slab) = depot.with(|stock| stock.pop_whole()) {
                // SAFETY: the depot no longer has the slab.
                unsafe { self.release_slab(slab) };
            }
        }
        result
    }

    /// Frees an object that is marked as free.
    ///
    /// # Errors
    /// As for [`dealloc`](Self::dealloc).
    #[cfg(target_os = "none")]
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
