//! The allocator: single frames from one bitmap.

use core::ops::Range;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Relaxed};

use octopod::stress::allocators::*;

/// A bit is set where the frame is free.
pub(crate) struct Bitmap<'a> {
    frames: Range<FrameNumber>,
    words: &'a [AtomicU64],
}

impl<'a> Bitmap<'a> {
    pub(crate) fn on(memory: &BorrowedMemory<'a>) -> Bitmap<'a> {
        let frames = memory.frames()[0].clone();
        let count = frames.end - frames.start;
        let words: &[AtomicU64] = memory.take_metadata(count.div_ceil(64));
        for index in 0..count {
            words[index / 64].fetch_or(1 << (index % 64), Relaxed);
        }
        Bitmap { frames, words }
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
            Some(self.frames.start + (index * 64 + bits.trailing_zeros() as usize))
        })
    }

    unsafe fn free(&self, _: &mut AllocContext, frame: FrameNumber, _: Order) -> Result<(), FreeError> {
        if !self.frames.contains(&frame) {
            return Err(FreeError::NotManaged { frame });
        }
        let index = frame - self.frames.start;
        match self.words[index / 64].fetch_or(1 << (index % 64), AcqRel) >> (index % 64) & 1 {
            0 => Ok(()),
            _ => Err(FreeError::DoubleFree { frame }),
        }
    }

    fn rejects_invalid_frees(&self) -> Option<Order> {
        Some(Order::FRAME)
    }

    fn drain(&self, _: &mut AllocContext) {}

    fn free_frames(&self) -> usize {
        self.words.iter().map(|word| word.load(Relaxed).count_ones() as usize).sum()
    }
}
