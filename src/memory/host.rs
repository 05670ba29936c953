//! The allocator on the host: memory of the host in the role of RAM, for tests, stress and benchmarks.

extern crate std;

use core::ops::Range;
use core::ptr::NonNull;
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::boxed::Box;
use std::vec::Vec;

use super::cache::Magazine;
use super::frames::sync::MODELLED;
#[cfg(any(loom, shuttle))]
use super::frames::sync::forget_placed;
use super::frames::{
    FRAME_BYTES, FRAMES_PER_BLOCK, FrameNumber, Frames, FreeError, InsertError, ORDERS, Order, SetZonesError,
    Zone, ZoneLayout,
};

/// Host memory in the role of RAM: frames and the metadata for them.
///
/// Physical addresses are the host's modulo 1 GiB, or more: so the direct map's base is as aligned as the kernel's.
pub struct World {
    /// The allocator.
    pub(crate) frames: Frames,
    /// The first frame; aligned like the largest power of two of blocks that fits.
    pub(crate) first: FrameNumber,
    /// How many frames there are.
    pub(crate) len: usize,
    /// `None` in a sparse world.
    memory: Option<(NonNull<u8>, Layout)>,
    metadata: (NonNull<u8>, Layout),
}

// SAFETY: the pointers are only for `drop`, to whose caller alone the memory belongs then; the allocator itself is Sync.
unsafe impl Sync for World {}
// SAFETY: the pointers are used by `drop` alone, which frees the memory from whichever thread; the allocator is Send.
unsafe impl Send for World {}

impl World {
    /// RAM of so many blocks, not a frame of which is inserted yet; each can be managed in part.
    pub fn empty(blocks: usize) -> Self {
        Self::with_edges(blocks, blocks)
    }

    /// The same, with so many blocks that can be managed in part.
    pub fn with_edges(blocks: usize, partial_blocks: usize) -> Self {
        let bytes = blocks * FRAMES_PER_BLOCK * FRAME_BYTES;
        // In a model the first frame is number 0, and the table no longer than the memory.
        let align =
            if MODELLED { Order::MAX.bytes() } else { bytes.next_power_of_two().min(Order::MAX.bytes()) };
        Self::aligned(blocks, partial_blocks, align)
    }

    fn aligned(blocks: usize, partial_blocks: usize, align: usize) -> Self {
        #[cfg(test)]
        super::tests::end_at_first_failure();
        let bytes = blocks * FRAMES_PER_BLOCK * FRAME_BYTES;
        let layout = Layout::from_size_align(bytes, align).expect("a layout");
        #[cfg(miri)]
        leave_the_first_gigabyte();
        let memory = allocate(layout);
        let address = memory.0.as_ptr().expose_provenance();
        let base = address & !(Order::MAX.bytes() - 1);
        Self::from(FrameNumber::containing(address - base), blocks, partial_blocks, Some(memory))
    }

    /// RAM of so many blocks that begins at frame 0 and has no memory of the host behind it, all inserted. The allocator accesses
    /// its metadata only, so a host has room for terabytes.
    ///
    /// # Panics
    /// If the allocator does not accept the memory.
    pub fn sparse(blocks: usize) -> Self {
        let world = Self::from(FrameNumber::new(0), blocks, blocks, None);
        assert_eq!(world.insert(0..world.len), Ok(world.len));
        world
    }

    /// The frames from `first` on, with new metadata.
    fn from(
        first: FrameNumber,
        blocks: usize,
        partial_blocks: usize,
        memory: Option<(NonNull<u8>, Layout)>,
    ) -> Self {
        let end = first + blocks * FRAMES_PER_BLOCK;
        let layout =
            Layout::from_size_align(Frames::metadata_bytes(end, partial_blocks), 64).expect("a layout");
        // SAFETY: the layout's size is not zero.
        let metadata = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("host memory");
        // SAFETY: it initialises all of the metadata, with what would show if anything relied on zeroes.
        unsafe { metadata.write_bytes(0xa5, layout.size()) };
        // SAFETY: metadata of the size asked for, aligned, initialised, and the allocator's own until `drop`.
        let frames = unsafe { Frames::new(metadata, end, partial_blocks) };
        Self { frames, first, len: blocks * FRAMES_PER_BLOCK, memory, metadata: (metadata, layout) }
    }

    /// RAM that begins at frame 0, as a machine's does, not a frame of which is inserted yet.
    pub fn at_zero(blocks: usize) -> Self {
        Self::aligned(blocks, blocks, Order::MAX.bytes())
    }

    /// The same, cut into arenas.
    ///
    /// # Panics
    /// If it cannot be cut so.
    pub fn with_zones(blocks: usize, zone_layout: impl FnOnce(FrameNumber) -> ZoneLayout) -> Self {
        let world = Self::at_zero(blocks);
        world.set_zones(zone_layout(world.first + world.len)).expect("nothing is out");
        world
    }

    /// Divides the memory into zones, which are leaked. The caller ensures that no other code uses the allocator meanwhile.
    ///
    /// # Errors
    /// The allocator's.
    pub(crate) fn set_zones(&self, zone_layout: ZoneLayout) -> Result<(), SetZonesError> {
        let zones: Vec<Zone> = zone_layout.zones().iter().map(|_| self.frames.new_zone()).collect();
        // SAFETY: nothing else uses the allocator meanwhile, which the callers, all in this crate, ensure.
        unsafe { self.frames.set_zones(Box::leak(Box::new(zone_layout)), zones.leak()) }
    }

    /// RAM of so many blocks, all inserted.
    ///
    /// # Panics
    /// If the allocator does not accept the memory.
    pub fn new(blocks: usize) -> Self {
        let world = Self::empty(blocks);
        assert_eq!(world.insert(0..world.len), Ok(world.len));
        world
    }

    /// Inserts frames by their index from the first.
    ///
    /// # Errors
    /// The allocator's.
    ///
    /// # Panics
    /// If the range reaches past the memory.
    pub fn insert(&self, range: Range<usize>) -> Result<usize, InsertError> {
        assert!(range.end <= self.len);
        // SAFETY: the world's memory, which only the allocator uses. The frames of a sparse world have none, and the allocator
        // accesses no free frame (`memory::frames`).
        unsafe { self.frames.insert(self.first + range.start..self.first + range.end) }
    }

    /// How many frames there are.
    pub fn frame_count(&self) -> usize {
        self.len
    }

    /// A new cache of single frames and runs, as a CPU has one.
    pub fn cache(&self) -> Cache<'_> {
        Cache { world: self, magazine: Magazine::new() }
    }

    /// A frame's index from the first.
    pub fn index(&self, frame: FrameNumber) -> usize {
        frame - self.first
    }

    /// The memory of the frame with that index from the first.
    ///
    /// # Panics
    /// If the world is sparse.
    pub(crate) fn pointer(&self, index: usize) -> NonNull<u8> {
        assert!(index < self.len);
        let (memory, _) = self.memory.expect("a sparse world has no memory");
        // SAFETY: the memory has as many frames as the world, and the index is below that.
        unsafe { memory.add(index * FRAME_BYTES) }
    }

    /// Every frame that there is, one by one.
    pub(crate) fn take_everything(&self, magazine: &Magazine) -> Vec<FrameNumber> {
        core::iter::from_fn(|| self.frames.alloc(magazine, Order::FRAME)).collect()
    }

    /// Checks that nothing is out and nothing in pieces: all free, and as whole as in `before`.
    ///
    /// # Panics
    /// If not.
    pub fn assert_as_before(&self, before: [usize; ORDERS]) {
        assert_eq!(self.frames.validate(), Ok(()));
        assert_eq!(self.frames.free_frames(), self.frames.total_frames());
        assert_eq!(self.frames.free_by_order(), before);
    }
}

/// The cache of one CPU over a [`World`]'s frames, and access to all others. When it is dropped, the frames in it are lost to the
/// world.
pub struct Cache<'a> {
    world: &'a World,
    /// It is used with this world's allocator alone: its frames are taken for that allocator's.
    magazine: Magazine,
}

impl Cache<'_> {
    /// `2^order` frames, naturally aligned.
    #[inline(always)]
    pub fn alloc(&mut self, order: Order) -> Option<FrameNumber> {
        self.world.frames.alloc(&self.magazine, order)
    }

    /// Frees `2^order` frames. Nothing but the allocator uses the frames' memory, so a wrong free does no harm beyond the
    /// allocator's state.
    ///
    /// # Errors
    /// The error, as far as the allocator can detect it.
    #[inline(always)]
    pub fn free(&mut self, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        self.world.frames.free(&self.magazine, frame, order)
    }
}

/// Memory, and by which layout it goes back.
fn allocate(layout: Layout) -> (NonNull<u8>, Layout) {
    // SAFETY: no layout here has the size zero.
    let get = |layout| NonNull::new(unsafe { alloc(layout) }).expect("host memory");
    if !cfg!(miri) {
        return (get(layout), layout);
    }
    // Miri aligns to 512 MiB at most, and its addresses ascend: what is not aligned is left for what comes next.
    let possible = Layout::from_size_align(layout.size(), layout.align().min(1 << 29)).expect("a layout");
    let (mut memory, mut left) = (get(possible), Vec::new());
    while !memory.addr().get().is_multiple_of(layout.align()) {
        left.push(core::mem::replace(&mut memory, get(possible)));
    }
    // SAFETY: each was allocated with this layout.
    left.into_iter().for_each(|memory| unsafe { dealloc(memory.as_ptr(), possible) });
    (memory, possible)
}

/// Miri's addresses begin at zero, where no direct map may.
#[cfg(miri)]
fn leave_the_first_gigabyte() {
    static TAKEN: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    TAKEN.get_or_init(|| Vec::with_capacity(Order::MAX.bytes()));
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((memory, layout)) = self.memory {
            // SAFETY: `aligned` allocated the memory with this layout, and the allocator over it goes with it.
            unsafe { dealloc(memory.as_ptr(), layout) };
        }
        // SAFETY: `new` allocated the metadata with this layout, and the allocator over it goes with it.
        unsafe { dealloc(self.metadata.0.as_ptr(), self.metadata.1) };
        #[cfg(any(loom, shuttle))]
        // SAFETY: a model has one world at a time, so the arrays are this world's.
        unsafe {
            forget_placed();
        }
    }
}
