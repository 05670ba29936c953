//! Layer 1: what a CPU has at hand. The hot pair of an allocator is this file's `pop` and `push`.
//!
//! One compare serves both as the check for empty or full and as the bounds check, so either is six instructions, with no
//! locked one, no loop and no line that another CPU writes to.

use core::cell::Cell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::arenas::Scope;
use super::atomic_frame::AtomicFrame;
use super::moves::Moves;
use super::number::{BlockNumber, FrameNumber, Order};
use super::partition::NodeId;
use super::reserve::Reserve;
use super::sync;

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
/// [`Afar`](super::Afar), hence atomics instead of `&mut`. Before a magazine is given up,
/// [`Frames::drain`](super::Frames::drain) must have emptied it, or its frames and the block it refills from are lost to
/// others.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Magazine {
    pub(super) len: AtomicUsize,
    pub(super) moves: Moves,
    pub(super) hint: Hint,
    pub(super) reserve: Reserve,
    pub(super) frames: [AtomicFrame; CAPACITY],
}

/// A block, or none: one word, which other CPUs may read while its own CPU writes.
#[derive(Debug)]
pub(super) struct AtomicBlock(AtomicUsize);

/// No block has this number: its address would need 85 bits.
const NO_BLOCK: usize = usize::MAX;

impl AtomicBlock {
    const fn none() -> Self {
        Self(AtomicUsize::new(NO_BLOCK))
    }

    #[inline(always)]
    pub(super) fn get(&self) -> Option<BlockNumber> {
        match self.0.load(Ordering::Relaxed) {
            NO_BLOCK => None,
            number => Some(BlockNumber(number)),
        }
    }

    #[inline(always)]
    pub(super) fn set(&self, block: Option<BlockNumber>) {
        self.0.store(block.map_or(NO_BLOCK, |block| block.0), Ordering::Relaxed);
    }

    #[inline(always)]
    pub(super) fn replace(&self, block: Option<BlockNumber>) -> Option<BlockNumber> {
        let old = self.get();
        self.set(block);
        old
    }
}

/// Where a CPU refills from.
#[derive(Debug)]
pub(super) struct Hint {
    /// The block that this magazine takes from, and holds in the sense of its state word.
    pub(super) held: AtomicBlock,
    /// The one before, held as well: a CPU that takes and gives back somewhat more than a block has goes to and fro
    /// between two, and neither is sent to the buddy and fetched back for ever.
    pub(super) spare: AtomicBlock,
    /// The word of its bitmap to look at first.
    pub(super) word: Cell<usize>,
    /// Where to start the search for another block. Apart for each CPU once it has found one, so that CPUs spread.
    pub(super) near: Cell<BlockNumber>,
    /// Where it may be, the nearest first.
    pub(super) scope: Cell<Scope>,
    /// A block of which something was on its way when a search gave up.
    pub(super) on_its_way: Cell<Option<BlockNumber>>,
}

impl Hint {
    /// Before the first refill.
    pub(super) const fn new(scope: Scope) -> Self {
        Self {
            held: AtomicBlock::none(),
            spare: AtomicBlock::none(),
            word: Cell::new(0),
            near: Cell::new(BlockNumber(0)),
            scope: Cell::new(scope),
            on_its_way: Cell::new(None),
        }
    }

    /// As before the first refill, in the same scope. No block is held.
    pub(super) fn reset(&self) {
        debug_assert!(self.held.get().is_none() && self.spare.get().is_none());
        self.word.set(0);
        self.near.set(BlockNumber(0));
        self.on_its_way.set(None);
    }
}

impl Magazine {
    /// How many frames it keeps at most, a whole block left aside.
    #[cfg(test)]
    pub const MOST_FRAMES: usize = CAPACITY + super::reserve::MOST_FRAMES;
    /// What a CPU may write in the place of the length when it has drained its magazine, so that it notices before it uses
    /// it again. Others take it for 0.
    pub const ASLEEP: usize = CAPACITY + 1;
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

    const fn with(moves: sync::AtomicUsize) -> Self {
        let hint = Hint::new(Scope::from(NodeId(0)));
        let frames = [const { AtomicFrame::new(FrameNumber::new(0)) }; CAPACITY];
        Self { len: AtomicUsize::new(0), moves: Moves::of(moves), hint, reserve: Reserve::new(), frames }
    }

    /// The node whose CPU this is. What is in the magazine, or held by it, is used up before the node's own memory is asked
    /// for.
    pub fn set_home(&self, node: NodeId) {
        self.hint.scope.set(Scope::from(node));
    }

    /// The node whose CPU this is; the first one unless it was set.
    pub fn home(&self) -> NodeId {
        self.hint.scope.get().home
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
    pub fn kept_frames(&self) -> usize {
        self.len() + self.reserve.runs().map(|(_, order)| order.frames()).sum::<usize>()
    }

    /// Where the last search would have found something, had not another CPU been at it: the first frame of that block.
    /// Whoever can wait searches again.
    pub fn on_its_way(&self) -> Option<FrameNumber> {
        self.hint.on_its_way.get().map(BlockNumber::first_frame)
    }

    /// The lowest frame of a run that is in here, by itself or in a run.
    pub(super) fn lowest_of(&self, frame: FrameNumber, order: Order) -> Option<FrameNumber> {
        let end = frame + order.frames();
        let single = self.frames().filter(|single| (frame..end).contains(single));
        let kept = self.reserve.runs().map(|(first, order)| (first, first + order.frames()));
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
    pub(super) unsafe fn view(&self) -> &[FrameNumber] {
        // SAFETY: this CPU alone writes to the places (the magazine is not `Sync`), and the caller guarantees that it does not
        // (see # Safety).
        unsafe { AtomicFrame::view(&self.frames[..self.len()]) }
    }

    /// An empty magazine's room for a batch. [`refilled`](Self::refilled) says how much of it was used.
    pub(super) fn room(&self) -> &[AtomicFrame; BATCH] {
        debug_assert!(self.is_empty());
        self.frames.first_chunk().expect("a batch is less than the capacity")
    }

    /// The first `count` frames of the room are in the magazine now.
    pub(super) fn refilled(&self, count: usize) {
        self.set_len(count);
    }

    /// Drops the `count` oldest frames, which are those most likely to be in no cache any more.
    pub(super) fn drop_oldest(&self, count: usize) {
        let len = self.len();
        AtomicFrame::copy(&self.frames[count..len], &self.frames[..len - count]);
        self.set_len(len - count);
    }

    /// Moves the `out.len()` newest frames to `out`, the newest last.
    pub(super) fn pop_many(&self, out: &mut [FrameNumber]) {
        let len = self.len();
        let rest = len - out.len();
        AtomicFrame::copy(&self.frames[rest..len], AtomicFrame::from_mut(out));
        self.set_len(rest);
    }

    /// Puts all of `frames` in, if they fit.
    pub(super) fn push_many(&self, frames: &[FrameNumber]) -> Result<(), Full> {
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
