//! Layer 1: what a CPU has at hand. The hot pair of an allocator is this file's `pop` and `push`.
//!
//! One compare serves both as the check for empty or full and as the bounds check, so either is six instructions, with no
//! locked one, no loop and no line that another CPU writes to.

use core::mem::offset_of;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::run_cache::RunCache;
use super::transfer_seq::TransferSeq;
use crate::memory::frames::atomic_frame::AtomicFrame;
use crate::memory::frames::hint::Hint;
use crate::memory::frames::number::{BlockNumber, FrameNumber, Order};
use crate::memory::frames::sync;
use crate::memory::frames::zone_layout::NodeId;
use crate::memory::frames::zones::Scope;

/// Frames that a magazine can hold.
pub const CAPACITY: usize = 128;
/// Frames that move between a magazine and the table at once. Half the capacity: after a refill or a flush, as many pops
/// or pushes as that are still to come before the next.
pub const BATCH: usize = CAPACITY / 2;

/// The magazine is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A CPU's own frames, and where it gets more.
///
/// One for each CPU, used with interrupts off by that CPU only: it is not `Sync`. Other CPUs may read it as
/// [`RemoteMagazine`](super::RemoteMagazine), hence atomics instead of `&mut`. Before a magazine is given up,
/// [`Frames::drain`](crate::memory::frames::Frames::drain) must have emptied it, or its frames and the block it refills from are lost to
/// others.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Magazine {
    pub(in crate::memory) len: AtomicUsize,
    pub(in crate::memory) transfer_seq: TransferSeq,
    pub(in crate::memory) hint: Hint,
    pub(in crate::memory) run_cache: RunCache,
    pub(in crate::memory) frames: [AtomicFrame; CAPACITY],
}

impl Magazine {
    /// How many frames it keeps at most, a whole block left aside.
    #[cfg(test)]
    pub const MAX_FRAMES: usize = CAPACITY + super::run_cache::MAX_FRAMES;
    /// What a CPU may write in the place of the length when it has drained its magazine, so that it notices before it uses
    /// it again. Others take it for 0.
    pub const INACTIVE: usize = CAPACITY + 1;
    /// Where the number of frames lies, in bytes, for those who reach a magazine by one instruction.
    pub const LEN_AT: usize = offset_of!(Magazine, len);
    /// Where the frames lie, in bytes.
    pub const FRAMES_AT: usize = offset_of!(Magazine, frames);

    /// An empty magazine.
    #[cfg(not(any(loom, shuttle)))]
    pub const fn new() -> Self {
        Self::with(sync::AtomicUsize::new(0))
    }

    /// An empty magazine, in a model, whose atomics are made when it runs.
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
            frames,
        }
    }

    /// The node whose CPU this is. What is in the magazine, or held by it, is used up before the node's own memory is asked
    /// for.
    pub fn set_local_node(&self, node: NodeId) {
        self.hint.scope.set(Scope::from(node));
    }

    /// The node whose CPU this is; the first one unless it was set.
    pub fn local_node(&self) -> NodeId {
        self.hint.scope.get().node
    }

    #[inline(always)]
    fn set_len(&self, len: usize) {
        self.len.store(len, Ordering::Relaxed);
    }

    /// Takes the frame put in last.
    #[inline(always)]
    pub fn pop(&self) -> Option<FrameNumber> {
        let last = self.len().wrapping_sub(1);
        let frame = self.frames.get(last)?.get();
        self.set_len(last);
        Some(frame)
    }

    /// Puts a frame in.
    ///
    /// # Errors
    /// If there is no room; nothing has changed then.
    #[inline(always)]
    pub fn push(&self, frame: FrameNumber) -> Result<(), Full> {
        let len = self.len();
        self.frames.get(len).ok_or(Full)?.set(frame);
        self.set_len(len + 1);
        Ok(())
    }

    /// How many single frames are in it.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether no single frame is in it.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many frames the CPU keeps from others: the single ones, and those of its runs.
    pub fn cached_frames(&self) -> usize {
        self.len() + self.run_cache.runs().map(|(_, order)| order.frames()).sum::<usize>()
    }

    /// Where the last search would have found something, had not another CPU been at it: the first frame of that block.
    /// Whoever can wait searches again.
    pub fn in_flight(&self) -> Option<FrameNumber> {
        self.hint.in_flight.get().map(BlockNumber::first_frame)
    }

    /// The lowest frame of a run that is in here, by itself or in a run.
    pub(in crate::memory) fn lowest_of(&self, frame: FrameNumber, order: Order) -> Option<FrameNumber> {
        let end = frame + order.frames();
        let single = self.frames().filter(|single| (frame..end).contains(single));
        let kept = self.run_cache.runs().map(|(first, order)| (first, first + order.frames()));
        let in_runs =
            kept.filter(|&(first, last)| first < end && frame < last).map(|(first, _)| first.max(frame));
        single.chain(in_runs).min()
    }

    /// The single frames in it, the one to be popped next last.
    pub fn frames(&self) -> impl Iterator<Item = FrameNumber> {
        self.frames[..self.len()].iter().map(AtomicFrame::get)
    }

    /// The same, in one piece.
    ///
    /// # Safety
    /// Nothing is put into the magazine for as long as what is returned is used, and what is taken out stays as it is.
    #[inline(always)]
    pub(in crate::memory) unsafe fn view(&self) -> &[FrameNumber] {
        // SAFETY: this CPU alone writes to the places (the magazine is not `Sync`), and the caller guarantees that it does not
        // (see # Safety).
        unsafe { AtomicFrame::view(&self.frames[..self.len()]) }
    }

    /// An empty magazine's room for a batch. [`refilled`](Self::refilled) says how much of it was used.
    pub(in crate::memory) fn room(&self) -> &[AtomicFrame; BATCH] {
        debug_assert!(self.is_empty());
        self.frames.first_chunk().expect("a batch is less than the capacity")
    }

    /// The first `count` frames of the room are in the magazine now.
    pub(in crate::memory) fn refilled(&self, count: usize) {
        self.set_len(count);
    }

    /// Drops the `count` oldest frames, which are those most likely to be in no cache any more.
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
