//! A magazine as other CPUs see it, who may look at it but not ask its CPU.
//!
//! Its CPU goes on meanwhile, and takes no notice. So what is seen is true of single frames, each at a moment of its own,
//! and all of it together only where the [moves](super::moves) say so.
//!
//! By the letter of Rust's memory model that CPU writes plain words, and nobody may read them meanwhile. It is a sequence
//! lock's bargain: a word of the processor's, written by one instruction, is read by one instruction, whatever comes is a
//! number, and it is believed only where no move was under way. What the hot paths write without a move they write by
//! instructions of their own, which Rust knows nothing of.

use core::ptr::{addr_of, read_volatile};
use core::sync::atomic::{AtomicUsize, Ordering};

use super::magazine::{CAPACITY, Magazine};
use super::number::{FrameNumber, Order};
use super::reserve::{KEPT_ORDERS, NONE};

/// Another CPU's magazine.
#[derive(Clone, Copy, Debug)]
pub struct Afar(*const Magazine);

impl Afar {
    /// The magazine at that address.
    ///
    /// # Safety
    /// There is one, for as long as this value or a copy of it is used; each of its words is written by one instruction. The
    /// address is one to write through, not that of a `&Magazine`: words are read as those of atomics.
    pub const unsafe fn new(magazine: *const Magazine) -> Self {
        Self(magazine)
    }

    /// How many moves its CPU has made; `None` while it is at one.
    pub(super) fn moves(self) -> Option<usize> {
        // SAFETY: there is a magazine, as `new` was told; of it, this borrows a counter that is there to be shared.
        unsafe { &*addr_of!((*self.0).moves) }.seen()
    }

    /// The runs that it keeps, single frames first, those to be taken last first.
    pub(super) fn kept(self) -> impl Iterator<Item = (FrameNumber, Order)> {
        let singles = (0..self.len()).map(move |index| {
            // SAFETY: the index is below the capacity.
            let frame = word(unsafe { addr_of!((*self.0).frames).cast::<FrameNumber>().add(index) });
            (FrameNumber::new(frame), Order::FRAME)
        });
        let runs = (0..KEPT_ORDERS).zip((1..).map_while(Order::new)).map(move |(index, order)| {
            // SAFETY: there is a run, or the word that says there is none, for each of these orders.
            let frame = word(unsafe { addr_of!((*self.0).reserve.runs).cast::<FrameNumber>().add(index) });
            (FrameNumber::new(frame), order)
        });
        singles.chain(runs.filter(|&(frame, _)| frame != NONE))
    }

    /// Whether its CPU keeps any frame from `first` up to `end`, or holds a block that has any.
    pub fn has_any_of(self, first: FrameNumber, end: FrameNumber) -> bool {
        let overlaps = |(run, order): (FrameNumber, Order)| run < end && first < run + order.frames();
        self.kept().any(overlaps) || self.holds_any_of(first, end)
    }

    fn holds_any_of(self, first: FrameNumber, end: FrameNumber) -> bool {
        // SAFETY: there is a magazine; whatever its CPU is writing there, each of the two words is one of those that it
        // has held, and every pair of them is an `Option` of a number.
        let held = unsafe {
            [read_volatile(addr_of!((*self.0).hint.held)), read_volatile(addr_of!((*self.0).hint.spare))]
        };
        held.into_iter()
            .flatten()
            .any(|block| (first.block()..=FrameNumber::new(end.get() - 1).block()).contains(&block))
    }

    /// How many single frames there are. As many as there can be, while an NMI handler keeps the word for itself.
    fn len(self) -> usize {
        // SAFETY: there is a magazine, and only its field's address is taken.
        match word(unsafe { addr_of!((*self.0).len) }) {
            Magazine::ASLEEP => 0,
            len => len.min(CAPACITY),
        }
    }
}

/// A word that another CPU may be writing.
fn word<T>(at: *const T) -> usize {
    const { assert!(size_of::<T>() == size_of::<usize>()) };
    // SAFETY: the callers give the address of a word that lives and is aligned, and of which every value is valid as a
    // number. Its CPU writes it by one instruction, so this gets what was there before or after.
    unsafe { AtomicUsize::from_ptr(at.cast_mut().cast()) }.load(Ordering::Relaxed)
}
