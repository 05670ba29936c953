//! The heap on the host: its frames come from octopod's frame allocator over memory of the host, for tests, stress and benchmarks.

extern crate std;

use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed, dealloc};

use super::allocator::{Heap, METADATA_ALIGN};
use super::backing::Backing;
use super::magazines::Magazines;
use super::sync::Lock;
use crate::memory::cache::Magazine;
use crate::memory::frames::{FRAME_BYTES, FreeError, Order};
use crate::memory::host::World;

/// Frames of octopod's allocator over memory of the host, with one cache behind a lock.
pub(crate) struct HostFrames {
    world: World,
    cache: Lock<Magazine>,
}

impl HostFrames {
    /// Frames of so many blocks of 2 MiB.
    pub(crate) fn new(blocks: usize) -> HostFrames {
        HostFrames { world: World::new(blocks), cache: Lock::new(Magazine::new()) }
    }

    /// How many frames are free.
    pub(crate) fn free_frames(&self) -> usize {
        let cache = self.cache.lock();
        self.world.frames.free_frames() + cache.cached_frames()
    }

    /// How many frames there are.
    pub(crate) fn total_frames(&self) -> usize {
        self.world.frame_count()
    }
}

// SAFETY: the frames must be exclusive, aligned and mapped. The allocator over the world's memory returns each once until it is freed, aligned to
// its size; the world's base is a multiple of 1 GiB.
unsafe impl Backing for HostFrames {
    fn base(&self) -> usize {
        self.world.pointer(0).addr().get() - self.world.first.address()
    }

    fn end(&self) -> usize {
        (self.world.first + self.world.len).address()
    }

    fn alloc(&self, order: Order) -> Option<NonNull<u8>> {
        let cache = self.cache.lock();
        let frame = self.world.frames.alloc(&cache, order)?;
        Some(self.world.pointer(self.world.index(frame)))
    }

    unsafe fn free(&self, first: NonNull<u8>, frames: usize) {
        let cache = self.cache.lock();
        let mut frame =
            self.world.first + (first.addr().get() - self.world.pointer(0).addr().get()) / FRAME_BYTES;
        let mut left = frames;
        while let Some(order) = Order::largest_in(frame, left) {
            let order = match self.world.frames.free(&cache, frame, order) {
                Ok(()) => order,
                Err(FreeError::WrongOrder { at_most, .. }) if at_most < order => {
                    assert_eq!(self.world.frames.free(&cache, frame, at_most), Ok(()));
                    at_most
                }
                Err(error) => panic!("the heap frees frames that it does not own: {error}"),
            };
            frame = frame + order.frames();
            left -= order.frames();
        }
    }
}

impl Drop for HostFrames {
    fn drop(&mut self) {
        let cache = self.cache.lock();
        let _ = self.world.frames.drain(&cache);
    }
}

/// A heap on memory of the host.
pub(crate) struct HostHeap {
    heap: Heap<HostFrames>,
    metadata: (NonNull<u8>, Layout),
}

// SAFETY: the pointer is for `drop` alone, and the heap is `Sync`.
unsafe impl Sync for HostHeap {}
// SAFETY: `drop` frees the memory from whichever thread; the heap's memory is its own.
unsafe impl Send for HostHeap {}

impl HostHeap {
    /// A heap on so many blocks of 2 MiB, for CPUs of so many nodes.
    ///
    /// # Panics
    /// If the host has no memory.
    pub(crate) fn new(blocks: usize, nodes: usize) -> HostHeap {
        let heap = Heap::new(HostFrames::new(blocks));
        let bytes = Heap::<HostFrames>::metadata_bytes(nodes, heap.backing.end());
        let layout = Layout::from_size_align(bytes, METADATA_ALIGN).expect("a layout");
        // SAFETY: the layout's size is not zero.
        let metadata = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("host memory");
        // SAFETY: the memory has the size and the alignment that the heap wants, and is freed after the heap is.
        unsafe { heap.init(metadata, nodes, 0x5eed_0f0c_7090_d001) };
        HostHeap { heap, metadata: (metadata, layout) }
    }

    /// The heap.
    pub(crate) fn heap(&self) -> &Heap<HostFrames> {
        &self.heap
    }

    /// The frames that it has from the allocator.
    pub(crate) fn frames(&self) -> usize {
        self.heap.backing.total_frames() - self.heap.backing.free_frames()
    }

    /// The address of the first frame.
    pub(crate) fn first_address(&self) -> usize {
        self.heap.backing.world.pointer(0).addr().get()
    }

    /// The memory of the host, in frames.
    pub(crate) fn total_frames(&self) -> usize {
        self.heap.backing.total_frames()
    }

    /// Drains these caches and the depots.
    ///
    /// # Panics
    /// If an object was freed twice.
    pub(crate) fn drain<'a>(&self, cpus: impl IntoIterator<Item = &'a Magazines>) {
        for cpu in cpus {
            self.heap.drain(cpu).expect("an object was freed twice");
        }
        self.heap.drain_depots().expect("an object was freed twice");
    }
}

impl Drop for HostHeap {
    fn drop(&mut self) {
        // SAFETY: `new` allocated the memory with this layout, and the heap over it goes with it.
        unsafe { dealloc(self.metadata.0.as_ptr(), self.metadata.1) };
    }
}
