//! Owning handles for physical memory: [`OwnedFrame`] for one frame, [`FrameRange`] for contiguous frames.
//!
//! A handle is the only owner of its frames. It is not `Copy`, and its drop returns the frames to the allocator. Frame
//! numbers are plain data: every program can make and copy them, and none gives access to memory. Handle and number convert
//! into each other by `into_raw`, which is safe and leaks the frames unless `from_raw` follows, and by `from_raw`, which is
//! `unsafe`.
//!
//! **Context.** Thread or interrupt context, interrupts on or off. In an NMI handler (and in the handlers of #DB, #DF and #MC)
//! the allocator refuses every request: an allocation returns `None`, and a drop leaks the frames and logs an error. The
//! leak is sound: nothing refers to the frames any more. The same holds wherever the allocator refuses frames that a handle
//! returns, which shows that `unsafe` code elsewhere has freed them too.

use core::fmt;
use core::mem::{ManuallyDrop, MaybeUninit};

use super::cache::{alloc, alloc_in, alloc_nowait, free};
use super::frames::{FRAME_BYTES, FrameNumber, FrameRequest, FreeError, Order};
use crate::boot::direct_map;
use crate::cpu::zero_page;

/// One physical frame of 4 KiB, owned. Its drop frees it.
#[repr(transparent)]
pub struct OwnedFrame(FrameNumber);

impl OwnedFrame {
    /// Allocates a frame. Its content is unspecified.
    ///
    /// **Context:** thread or interrupt. With interrupts on, it may wait for other CPUs to return the frames that they
    /// cache. With interrupts off, and in an NMI handler, it does not wait.
    #[inline(always)]
    pub fn alloc() -> Option<OwnedFrame> {
        alloc(Order::FRAME).map(OwnedFrame)
    }

    /// Allocates a frame as [`alloc`](Self::alloc) does, and fills it with zeros.
    pub fn alloc_zeroed() -> Option<OwnedFrame> {
        let mut frame = OwnedFrame::alloc()?;
        frame.zero();
        Some(frame)
    }

    /// The frame's number.
    #[inline(always)]
    pub fn number(&self) -> FrameNumber {
        self.0
    }

    /// [`Order::FRAME`], as for a [`FrameRange`].
    pub const fn order(&self) -> Order {
        Order::FRAME
    }

    /// The physical address of the first byte.
    pub fn physical_address(&self) -> u64 {
        self.0.address() as u64
    }

    /// The frame's address in the direct map, valid for reads and writes of [`FRAME_BYTES`] while the handle lives.
    pub fn as_ptr(&self) -> *mut u8 {
        direct_map::pointer(self.physical_address())
    }

    /// The frame's memory, as the previous owner left it.
    pub fn as_uninit(&mut self) -> &mut MaybeUninit<[u8; FRAME_BYTES]> {
        // SAFETY: `as_ptr` is valid for `FRAME_BYTES` and page-aligned: the direct map contains every frame of the allocator,
        // which `memory::init` inserts. The frame has no other owner (the handle is not `Copy`, and `from_raw` demands it), so
        // the exclusive borrow of the handle is one of the memory.
        unsafe { &mut *self.as_ptr().cast() }
    }

    /// Fills the frame with zeros, and returns it.
    pub fn zero(&mut self) -> &mut [u8; FRAME_BYTES] {
        let memory = self.as_uninit();
        zero_page(memory);
        // SAFETY: `zero_page` has written every byte.
        unsafe { memory.assume_init_mut() }
    }

    /// The frame's number, without its owner: the frame is leaked unless [`from_raw`](Self::from_raw) follows.
    pub fn into_raw(self) -> FrameNumber {
        ManuallyDrop::new(self).0
    }

    /// Makes the handle of a frame.
    ///
    /// # Safety
    /// The frame was allocated from this kernel's allocator, is not free, and has no other owner.
    #[inline(always)]
    pub unsafe fn from_raw(number: FrameNumber) -> OwnedFrame {
        OwnedFrame(number)
    }
}

impl Drop for OwnedFrame {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: this handle owns the frame, and ends here.
        if let Err(error) = unsafe { free(self.0, Order::FRAME) } {
            report_leak(error);
        }
    }
}

impl fmt::Debug for OwnedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnedFrame({:#x})", self.0.get())
    }
}

/// Contiguous physical frames, owned. Its drop frees them.
///
/// An allocation has a power of two of frames ([`Order`]) and is naturally aligned. A part of it ([`split_at`](Self::split_at))
/// and adjacent parts together ([`merge`](Self::merge)) need be neither. A range may be empty.
pub struct FrameRange {
    first: FrameNumber,
    frames: usize,
}

impl FrameRange {
    /// Allocates `2^order` frames, naturally aligned. Their content is unspecified.
    ///
    /// **Context:** as for [`OwnedFrame::alloc`].
    #[inline]
    pub fn alloc(order: Order) -> Option<FrameRange> {
        alloc(order).map(|first| FrameRange { first, frames: order.frames() })
    }

    /// Allocates frames as [`alloc`](Self::alloc) does, and never waits for other CPUs.
    pub fn alloc_nowait(order: Order) -> Option<FrameRange> {
        alloc_nowait(order).map(|first| FrameRange { first, frames: order.frames() })
    }

    /// Allocates frames as [`alloc`](Self::alloc) does, and fills them with zeros.
    pub fn alloc_zeroed(order: Order) -> Option<FrameRange> {
        let mut range = FrameRange::alloc(order)?;
        range.zero();
        Some(range)
    }

    /// Allocates naturally aligned frames from the zone and the node that the request names. It searches the shared layers
    /// each time: slower than [`alloc`](Self::alloc).
    ///
    /// **Context:** as for [`OwnedFrame::alloc`].
    pub fn alloc_in(request: FrameRequest) -> Option<FrameRange> {
        alloc_in(request).map(|first| FrameRange { first, frames: request.order.frames() })
    }

    /// The number of the first frame.
    pub fn number(&self) -> FrameNumber {
        self.first
    }

    /// How many frames there are.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// The order, if the range is what an allocation of that order looks like: a power of two of frames, naturally aligned.
    pub fn order(&self) -> Option<Order> {
        let order = Order::largest_in(self.first, self.frames)?;
        (order.frames() == self.frames).then_some(order)
    }

    /// The size in bytes.
    pub fn bytes(&self) -> usize {
        self.frames * FRAME_BYTES
    }

    /// The physical address of the first byte.
    pub fn physical_address(&self) -> u64 {
        self.first.address() as u64
    }

    /// The range's address in the direct map, valid for reads and writes of [`bytes`](Self::bytes) while the handle
    /// lives.
    pub fn as_ptr(&self) -> *mut u8 {
        direct_map::pointer(self.physical_address())
    }

    /// The range's memory, as the last owners left it.
    pub fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: `as_ptr` is valid for `bytes`: the direct map contains every frame of the allocator side by side, which
        // `memory::init` inserts. The frames have no other owner (the handle is not `Copy`, and `from_raw` demands it), so the
        // exclusive borrow of the handle is one of the memory.
        unsafe { core::slice::from_raw_parts_mut(self.as_ptr().cast(), self.bytes()) }
    }

    /// Fills the frames with zeros, and returns them.
    pub fn zero(&mut self) -> &mut [u8] {
        let memory = self.as_uninit();
        let (pages, _) = memory.as_chunks_mut::<FRAME_BYTES>();
        for page in pages {
            // SAFETY: an array of uninitialised bytes is an uninitialised array of bytes: same size, same alignment.
            zero_page(unsafe { &mut *(&raw mut *page).cast::<MaybeUninit<[u8; FRAME_BYTES]>>() });
        }
        // SAFETY: the length is a multiple of a page's, and `zero_page` has written every byte of each page.
        unsafe { &mut *(&raw mut *memory as *mut [u8]) }
    }

    /// Splits the range: the first `frames` frames, and the others.
    ///
    /// # Panics
    /// If the range has fewer.
    pub fn split_at(self, frames: usize) -> (FrameRange, FrameRange) {
        assert!(frames <= self.frames, "a range of {} frames has no frame {frames}", self.frames);
        let (first, count) = self.into_raw();
        (FrameRange { first, frames }, FrameRange { first: first + frames, frames: count - frames })
    }

    /// Makes one range of this one and the one that begins where it ends.
    ///
    /// # Errors
    /// Both ranges, if they are not adjacent in this order.
    pub fn merge(self, next: FrameRange) -> Result<FrameRange, (FrameRange, FrameRange)> {
        if self.first + self.frames != next.first {
            return Err((self, next));
        }
        let ((first, frames), (_, more)) = (self.into_raw(), next.into_raw());
        Ok(FrameRange { first, frames: frames + more })
    }

    /// Takes the first frame out of the range, if there is one.
    pub fn pop_first(&mut self) -> Option<OwnedFrame> {
        self.frames = self.frames.checked_sub(1)?;
        let frame = self.first;
        self.first = frame + 1;
        Some(OwnedFrame(frame))
    }

    /// The first frame's number and how many there are, without their owner: the frames are leaked unless
    /// [`from_raw`](Self::from_raw) follows.
    pub fn into_raw(self) -> (FrameNumber, usize) {
        let range = ManuallyDrop::new(self);
        (range.first, range.frames)
    }

    /// Makes the handle of contiguous frames.
    ///
    /// # Safety
    /// Each of the frames was allocated from this kernel's allocator, alone or with others, is not free, and has no other
    /// owner.
    pub unsafe fn from_raw(first: FrameNumber, frames: usize) -> FrameRange {
        FrameRange { first, frames }
    }
}

impl From<OwnedFrame> for FrameRange {
    fn from(frame: OwnedFrame) -> FrameRange {
        FrameRange { first: frame.into_raw(), frames: 1 }
    }
}

impl Drop for FrameRange {
    fn drop(&mut self) {
        let (mut first, mut left) = (self.first, self.frames);
        while let Some(order) = Order::largest_in(first, left) {
            let freed = free_piece(first, order);
            first = first + freed.frames();
            left -= freed.frames();
        }
    }
}

/// Frees the frames of a range from `first` on, up to `2^order` of them; how many that were, as an order. What was allocated
/// in pieces is freed in pieces: of blocks, the allocator knows how large each was.
fn free_piece(first: FrameNumber, mut order: Order) -> Order {
    loop {
        // SAFETY: the range that is being dropped owns the frames.
        match unsafe { free(first, order) } {
            Ok(()) => return order,
            Err(FreeError::WrongOrder { at_most, .. }) if at_most < order => order = at_most,
            Err(error) => {
                report_leak(error);
                return order;
            }
        }
    }
}

impl fmt::Debug for FrameRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameRange({:#x}..{:#x})", self.first.get(), (self.first + self.frames).get())
    }
}

/// Reports frames that the allocator did not take from their owner. They are leaked.
#[cold]
#[inline(never)]
pub(super) fn report_leak(error: FreeError) {
    log::error!("frames leaked: {error}");
}
