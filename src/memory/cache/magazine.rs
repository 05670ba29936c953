//! The magazine of a CPU: its cached frames, and where its searches begin. `pop` and `push` are the fast path of the allocator.
//!
//! One comparison is both the check for empty or full and the bounds check. Each of the two takes six instructions: no locked one,
//! no loop, and no cache line that another CPU writes.

use core::mem::offset_of;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::run_cache::RunCache;
use super::transfer_seq::TransferSeq;
use crate::memory::frames::atomic_frame::AtomicFrame;
use crate::memory::frames::hint::Hint;
use crate::memory::frames::number::{BlockNumber, FrameNumber, Order};
use crate::memory::frames::sync;
use crate::memory::frames::zone::Scope;
use crate::memory::frames::zone_layout::NodeId;

/// Frames that a magazine can hold.
pub const CAPACITY: usize = 128;
/// Frames that a refill moves. It is half the capacity, so the next flush is at least so many pushes away; a flush moves more, and the
/// next one is further away.
pub const BATCH: usize = CAPACITY / 2;

/// The magazine is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The cached frames of a CPU, and where it refills from.
///
/// Only its own CPU uses it, with interrupts disabled: it is not `Sync`. Other CPUs may read it as a
/// [`RemoteMagazine`](super::RemoteMagazine), hence atomics instead of `&mut`. Before a magazine is dropped,
/// [`Frames::drain`](crate::memory::frames::Frames::drain) must have emptied it, or its frames and its reserved
/// blocks are leaked.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Magazine {
    pub(in crate::memory) len: AtomicUsize,
    pub(in crate::memory) transfer_seq: TransferSeq,
    pub(in crate::memory) hint: Hint,
    pub(in crate::memory) run_cache: RunCache,
    /// How often it was filled from the shared allocator.
    pub(in crate::memory) fills: AtomicUsize,
    pub(in crate::memory) frames: [AtomicFrame; CAPACITY],
}

impl Magazine {
    /// How many frames it caches at most, except for a whole block.
    #[cfg(test)]
    pub const MAX_FRAMES: usize = CAPACITY + super::run_cache::MAX_FRAMES;
    /// The length of an inactive magazine: a CPU writes it after a drain, so that `pop` and `push` fail. Other CPUs read it as 0.
    pub(crate) const INACTIVE: usize = CAPACITY + 1;
    /// The offset of the length in bytes, for accesses through GS.
    pub(crate) const LEN_AT: usize = offset_of!(Magazine, len);
    /// The offset of the cached runs in bytes.
    pub(crate) const RUNS_AT: usize = offset_of!(Magazine, run_cache);
    /// The offset of the reserved blocks in bytes. Each has two words, of which the first is the block's number.
    pub(crate) const RESERVED_AT: usize = offset_of!(Magazine, hint.reserved);
    /// The offset of the frames in bytes.
    pub(crate) const FRAMES_AT: usize = offset_of!(Magazine, frames);

    /// An empty magazine.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) const fn new() -> Self {
        Self::with(sync::AtomicUsize::new(0))
    }

    /// An empty magazine. In a model, atomics are made at run time.
    #[cfg(any(loom, shuttle))]
    pub fn new() -> Self {
        Self::with(sync::AtomicUsize::new(0))
    }

    const fn with(transfer_seq: sync::AtomicUsize) -> Self {
        let hint = Hint::new(Scope::from(NodeId(0)));
        let frames = [const { AtomicFrame::new(FrameNumber::new(0)) }; CAPACITY];
        Self {
            len: AtomicUsize::new(0),
            transfer_seq: TransferSeq::of(transfer_seq),
            hint,
            run_cache: RunCache::new(),
            fills: AtomicUsize::new(0),
            frames,
        }
    }

    /// Sets the node of the CPU. Frames that are cached, and blocks that are reserved, are used up first.
    pub(crate) fn set_local_node(&self, node: NodeId) {
        self.hint.scope.set(Scope::from(node));
        self.hint.forget_last();
    }

    /// The node of the CPU; node 0 unless it was set.
    pub(crate) fn local_node(&self) -> NodeId {
        self.hint.scope.get().node
    }

    #[inline(always)]
    fn set_len(&self, len: usize) {
        self.len.store(len, Ordering::Relaxed);
    }

    /// Takes the frame that was put in last.
    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<FrameNumber> {
        let last = self.len().wrapping_sub(1);
        let frame = self.frames.get(last)?.get();
        self.set_len(last);
        Some(frame)
    }

    /// Puts a frame in.
    ///
    /// # Errors
    /// [`Full`]; nothing has changed then.
    #[inline(always)]
    pub(crate) fn push(&self, frame: FrameNumber) -> Result<(), Full> {
        let len = self.len();
        self.frames.get(len).ok_or(Full)?.set(frame);
        self.set_len(len + 1);
        Ok(())
    }

    /// How many single frames it has.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether it has no single frame.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many frames the CPU caches: single frames, and those of its runs.
    pub(crate) fn cached_frames(&self) -> usize {
        self.len() + self.run_cache.runs().map(|(_, order)| order.frames()).sum::<usize>()
    }

    /// Whether a drain may give a search for this order what it has not found: cached frames, or, for whole blocks, a reserved block.
    /// Reserved blocks are part of every search for frames.
    pub(in crate::memory) fn may_have(&self, order: Order) -> bool {
        let is_reserved = || self.hint.all_reserved().any(|block| block.get().is_some());
        self.cached_frames() > 0 || (order >= Order::BLOCK && is_reserved())
    }

    /// The block of which frames were in flight when the last search failed: its first frame. A caller that can wait searches again.
    pub(crate) fn in_flight(&self) -> Option<FrameNumber> {
        self.hint.in_flight.get().map(BlockNumber::first_frame)
    }

    /// The lowest frame of a run that is cached, as a single frame or in a run. `is_cached` tells of a run of the run cache whether
    /// it is still there.
    pub(in crate::memory) fn lowest_of(
        &self,
        frame: FrameNumber,
        order: Order,
        is_cached: impl Fn(FrameNumber, Order) -> bool,
    ) -> Option<FrameNumber> {
        let end = frame + order.frames();
        let single = self.frames().filter(|single| (frame..end).contains(single));
        let cached = self.run_cache.runs().filter(|&(first, order)| is_cached(first, order));
        let cached = cached.map(|(first, order)| (first, first + order.frames()));
        let in_runs =
            cached.filter(|&(first, last)| first < end && frame < last).map(|(first, _)| first.max(frame));
        single.chain(in_runs).min()
    }

    /// The single frames. The last one is popped next.
    pub(crate) fn frames(&self) -> impl Iterator<Item = FrameNumber> {
        self.frames[..self.len()].iter().map(AtomicFrame::get)
    }

    /// The single frames as a slice.
    ///
    /// # Safety
    /// Nothing is put into the magazine while the slice is used. Frames that are popped meanwhile stay in the slice.
    #[inline(always)]
    pub(in crate::memory) unsafe fn view(&self) -> &[FrameNumber] {
        // SAFETY: only this CPU writes these words (`Magazine` is not `Sync`), and the caller guarantees that it does not (see
        // # Safety).
        unsafe { AtomicFrame::view(&self.frames[..self.len()]) }
    }

    /// The room of an empty magazine for a batch. [`refilled`](Self::refilled) sets how much of it was filled.
    pub(in crate::memory) fn room(&self) -> &[AtomicFrame; BATCH] {
        debug_assert!(self.is_empty());
        self.frames.first_chunk().expect("a batch is less than the capacity")
    }

    /// Counts a fill, which begins. A CPU that searches the shared allocator meanwhile may miss the frames that are taken.
    #[inline(always)]
    pub(in crate::memory) fn count_fill(&self) {
        self.fills.store(self.fills.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Sets the length to the `count` frames that were written to the room.
    pub(in crate::memory) fn refilled(&self, count: usize) {
        self.set_len(count);
    }

    /// Removes the `count` oldest frames. They are the least likely to be in the processor's caches.
    pub(in crate::memory) fn drop_oldest(&self, count: usize) {
        let len = self.len();
        AtomicFrame::copy(&self.frames[count..len], &self.frames[..len - count]);
        self.set_len(len - count);
    }

    /// Moves the `out.len()` newest frames to `out`, the newest last.
    pub(in crate::memory) fn pop_many(&self, out: &mut [FrameNumber]) {
        let len = self.len();
        let rest = len - out.len();
        AtomicFrame::copy(&self.frames[rest..len], AtomicFrame::from_mut(out));
        self.set_len(rest);
    }

    /// Puts all of `frames` in, if they fit.
    pub(in crate::memory) fn push_many(&self, frames: &[FrameNumber]) -> Result<(), Full> {
        let len = self.len();
        let end = len + frames.len();
        for (place, frame) in self.frames.get(len..end).ok_or(Full)?.iter().zip(frames) {
            place.set(*frame);
        }
        self.set_len(end);
        Ok(())
    }
}

impl Default for Magazine {
    fn default() -> Self {
        Self::new()
    }
}
