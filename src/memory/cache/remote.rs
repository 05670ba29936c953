//! A magazine as other CPUs see it, who may look at it but not ask its CPU.
//!
//! Its CPU goes on meanwhile, and takes no notice. So what is seen is true of single frames, each at a moment of its own,
//! and all of it together only where the [moves](super::transfer_seq) say so.
//!
//! Every word that is read here is an atomic, and its CPU writes it by `Relaxed` stores, or by single instructions that are
//! the same (`memory::cache::fast_path`). It is a sequence lock's bargain: each word is a number that was there at some moment,
//! and together they are believed only where no move was under way.

use core::sync::atomic::Ordering;

use super::magazine::{CAPACITY, Magazine};
use super::run_cache::{CACHED_ORDERS, NONE};
use crate::memory::frames::atomic_frame::AtomicFrame;
use crate::memory::frames::number::{FrameNumber, Order};

/// Another CPU's magazine. Only its atomic fields are borrowed.
#[derive(Clone, Copy, Debug)]
pub struct RemoteMagazine(*const Magazine);

impl RemoteMagazine {
    /// The magazine at that address.
    ///
    /// # Safety
    /// There is one, which is neither moved nor borrowed by `&mut`, for as long as this value or a copy of it is used.
    pub const unsafe fn new(magazine: *const Magazine) -> Self {
        Self(magazine)
    }

    /// How many moves its CPU has made; `None` while it is at one.
    pub(in crate::memory) fn transfer_seq(self) -> Option<usize> {
        // SAFETY: there is a magazine (see # Safety of `new`), and of it this borrows a field that is `Sync`.
        unsafe { &(*self.0).transfer_seq }.seen()
    }

    /// The runs that it keeps, single frames first, those to be taken last first.
    pub(in crate::memory) fn cached(self) -> impl Iterator<Item = (FrameNumber, Order)> {
        // SAFETY: there is a magazine (see # Safety of `new`), and of it this borrows two fields that are `Sync`. They live
        // longer than this value and its copies are used, so than the iterator.
        let (frames, runs) = unsafe { (&(*self.0).frames, &(*self.0).run_cache.runs) };
        let singles = frames[..self.len()].iter().map(|place| (place.get(), Order::FRAME));
        let runs: [&AtomicFrame; CACHED_ORDERS] = runs.each_ref();
        let runs =
            runs.into_iter().zip((1..).map_while(Order::new)).map(|(place, order)| (place.get(), order));
        singles.chain(runs.filter(|&(frame, _)| frame != NONE))
    }

    /// Whether its CPU keeps any frame from `first` up to `end`, or holds a block that has any.
    pub fn has_any_of(self, first: FrameNumber, end: FrameNumber) -> bool {
        let overlaps = |(run, order): (FrameNumber, Order)| run < end && first < run + order.frames();
        self.cached().any(overlaps) || self.holds_any_of(first, end)
    }

    fn holds_any_of(self, first: FrameNumber, end: FrameNumber) -> bool {
        // SAFETY: there is a magazine (see # Safety of `new`), and of it this borrows two fields that are `Sync`.
        let held = unsafe { [(*self.0).hint.reserved.get(), (*self.0).hint.previous.get()] };
        held.into_iter()
            .flatten()
            .any(|block| (first.block()..=FrameNumber::new(end.get() - 1).block()).contains(&block))
    }

    /// How many single frames there are. As many as there can be, while an NMI handler keeps the word for itself.
    fn len(self) -> usize {
        // SAFETY: there is a magazine (see # Safety of `new`), and of it this borrows a field that is `Sync`.
        match unsafe { &(*self.0).len }.load(Ordering::Relaxed) {
            Magazine::INACTIVE => 0,
            len => len.min(CAPACITY),
        }
    }
}
