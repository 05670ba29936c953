//! The magazine of another CPU, read without that CPU's cooperation: [`RemoteMagazine`].
//!
//! The owner may change it at the same time. Each word that is read was there at some moment. All of them together are consistent only
//! if the [sequence count](super::transfer_seq) is even and unchanged, as with a seqcount.
//!
//! Every word that is read is an atomic. The owner writes it by `Relaxed` stores, or by equivalent single instructions
//! (`memory::cache::fast_path`).

use core::sync::atomic::Ordering;

use super::magazine::{CAPACITY, Magazine};
use super::run_cache::NONE;
use crate::memory::frames::hint::AtomicBlock;
use crate::memory::frames::number::{FrameNumber, Order};

/// Another CPU's magazine. Only its atomic fields are borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemoteMagazine(*const Magazine);

impl RemoteMagazine {
    /// The magazine at that address.
    ///
    /// # Safety
    /// The pointer leads to a magazine that is neither moved, dropped, nor borrowed by `&mut` while this value or a copy of it is used.
    pub(crate) const unsafe fn new(magazine: *const Magazine) -> Self {
        Self(magazine)
    }

    /// Its CPU's sequence count; `None` during a transfer.
    pub(in crate::memory) fn transfer_seq(self) -> Option<usize> {
        // SAFETY: `new` demands a magazine that lives (see # Safety there); this borrows a field that is `Sync`.
        unsafe { &(*self.0).transfer_seq }.seen()
    }

    /// How often its CPU has filled it.
    pub(crate) fn fills(self) -> usize {
        // SAFETY: `new` demands a magazine that lives (see # Safety there); this borrows a field that is `Sync`.
        unsafe { &(*self.0).fills }.load(Ordering::Relaxed)
    }

    /// The cached frames and runs: single frames first, in the reverse order of their allocation.
    pub(in crate::memory) fn cached(self) -> impl Iterator<Item = (FrameNumber, Order)> {
        // SAFETY: `new` demands a magazine that lives (see # Safety there); this borrows a field that is `Sync`, which lives
        // longer than this value and its copies are used, so than the iterator.
        let frames = unsafe { &(*self.0).frames };
        // SAFETY: `new` demands a magazine that lives (see # Safety there); this borrows a field that is `Sync`, which lives
        // longer than this value and its copies are used, so than the iterator.
        let runs = unsafe { &(*self.0).run_cache.runs };
        // A drain empties the cache before it makes it inactive.
        let runs = if self.is_inactive() { [].as_slice() } else { runs.as_slice() };
        let singles = frames[..self.len()].iter().map(|place| (place.get(), Order::FRAME));
        let runs = runs.iter().zip((1..).map_while(Order::new)).map(|(place, order)| (place.get(), order));
        singles.chain(runs.filter(|&(frame, _)| frame != NONE))
    }

    /// The cached runs of whole blocks of this order or above, the smallest first. Of each, the state word tells whether it is still
    /// cached.
    #[inline(always)]
    pub(in crate::memory) fn cached_blocks(self, order: Order) -> impl Iterator<Item = (FrameNumber, Order)> {
        // SAFETY: `new` demands a magazine that lives (see # Safety there); this borrows a field that is `Sync`, which lives
        // longer than this value and its copies are used, so than the iterator.
        let runs = unsafe { &(*self.0).run_cache.runs };
        let first = order.max(Order::BLOCK);
        let entries = runs[usize::from(first.get()) - 1..].iter();
        let mut next = first.get();
        entries.filter_map(move |entry| {
            let (run, order) = (entry.get(), next);
            next += 1;
            if run == NONE { None } else { Some((run, Order::new(order)?)) }
        })
    }

    /// Whether its CPU caches any frame from `first` up to `end`, or has reserved a block of them. Runs of whole blocks do not count:
    /// [`Frames::reclaim_blocks`](crate::memory::frames::Frames::reclaim_blocks) takes them.
    pub(crate) fn has_any_of(self, first: FrameNumber, end: FrameNumber) -> bool {
        let overlaps = |(run, order): (FrameNumber, Order)| {
            order < Order::BLOCK && run < end && first < run + order.frames()
        };
        self.cached().any(overlaps) || self.has_reserved_any_of(first, end)
    }

    fn has_reserved_any_of(self, first: FrameNumber, end: FrameNumber) -> bool {
        // SAFETY: `new` demands a magazine that lives (see # Safety there); this borrows a field whose parts are `Sync`.
        let hint = unsafe { &(*self.0).hint };
        let blocks = first.block()..=FrameNumber::new(end.get() - 1).block();
        hint.all_reserved().filter_map(AtomicBlock::get).any(|block| blocks.contains(&block))
    }

    /// Whether its CPU caches no frame and has reserved no block, because it has drained its cache and not used it since.
    pub(in crate::memory) fn is_inactive(self) -> bool {
        // SAFETY: `new` demands a magazine that lives (see # Safety there); this borrows a field that is `Sync`.
        unsafe { &(*self.0).len }.load(Ordering::Relaxed) == Magazine::INACTIVE
    }

    /// How many single frames there are; the capacity while the allocator is disabled on its CPU, because the length is unknown then.
    fn len(self) -> usize {
        // SAFETY: `new` demands a magazine that lives (see # Safety there); this borrows a field that is `Sync`.
        match unsafe { &(*self.0).len }.load(Ordering::Relaxed) {
            Magazine::INACTIVE => 0,
            len => len.min(CAPACITY),
        }
    }
}
