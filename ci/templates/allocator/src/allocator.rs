//! The allocator: single frames from one bitmap.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Relaxed};

use octopod::stress::allocators::*;

/// A bit is set where the frame is free.
pub(crate) struct Bitmap<'a> {
    first: FrameNumber,
    words: &'a [AtomicU64],
}

impl<'a> Bitmap<'a> {
    pub(crate) fn on(memory: &BorrowedMemory<'a>) -> Bitmap<'a> {
        let range = &memory.frames()[0];
        let frames = range.end.get() - range.start.get();
        let words: &[AtomicU64] = memory.take_metadata(frames.div_ceil(64));
        (0..frames).for_each(|frame| drop(words[frame / 64].fetch_or(1 << (frame % 64), Relaxed)));
        Bitmap { first: range.start, words }
    }
}

impl FrameSource for Bitmap<'_> {
    fn largest_order(&self) -> Order {
        Order::FRAME
    }

    fn alloc(&self, _: &mut AllocContext, _: Order) -> Option<FrameNumber> {
        self.words.iter().enumerate().find_map(|(index, word)| {
            let bits =
                word.fetch_update(AcqRel, Relaxed, |bits| (bits != 0).then(|| bits & (bits - 1))).ok()?;
            Some(self.first + (index * 64 + bits.trailing_zeros() as usize))
        })
    }

    unsafe fn free(&self, _: &mut AllocContext, frame: FrameNumber, _: Order) -> Result<(), FreeError> {
        let index = frame.get() - self.first.get();
        match self.words[index / 64].fetch_or(1 << (index % 64), AcqRel) >> (index % 64) & 1 {
            0 => Ok(()),
            _ => Err(FreeError::DoubleFree { frame }),
        }
    }

    fn drain(&self, _: &mut AllocContext) {}

    fn free_frames(&self) -> usize {
        self.words.iter().map(|word| word.load(Relaxed).count_ones() as usize).sum()
    }
}
