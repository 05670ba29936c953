//! Costs of frames, through the kernel's usual calls, with interrupts on before and after.

use super::meter::{Meter, opaque, repeat};
use crate::memory::frames::{FrameNumber, Order};
use crate::memory::source::{AllocContext, FrameSource};
use crate::memory::{self, KernelAllocator, OwnedFrame, ZeroedSlice};

/// Pages of a bulk: those of a block of 2 MiB, several times as many as a CPU caches.
pub(crate) const BULK: usize = 512;

pub(super) const NO_MEMORY: &str = "a machine with too little memory for the bench";

/// Frames of partly used blocks, allocated so that all measurements take frames of whole blocks. The number of the former
/// depends on the machine.
pub(crate) struct PartialBlocks {
    /// The numbers of the frames, in frames of their own until the bench ends.
    numbers: ZeroedSlice<FrameNumber>,
    held: usize,
}

impl PartialBlocks {
    /// The most frames that are expected: a memory map has few edges.
    const MOST: usize = 4096;

    /// Allocates frames until a whole block of them is contiguous, and frees that block. `None` if there is none.
    pub(crate) fn hold() -> Option<PartialBlocks> {
        let mut partial = PartialBlocks { numbers: ZeroedSlice::new(Self::MOST)?, held: 0 };
        if partial.alloc_to_a_whole_block().is_none() {
            partial.release();
            return None;
        }
        partial.free_from(partial.held - BULK);
        Some(partial)
    }

    fn alloc_to_a_whole_block(&mut self) -> Option<()> {
        reset();
        let (mut in_a_row, mut next) = (0, FrameNumber::new(0));
        while in_a_row < BULK {
            let slot = self.numbers.get_mut(self.held)?;
            let frame = SOURCE.alloc(&mut context(), Order::FRAME)?;
            *slot = frame;
            self.held += 1;
            let follows = in_a_row > 0 && frame == next;
            in_a_row = if follows { in_a_row + 1 } else { usize::from(frame.is_aligned_to(Order::BLOCK)) };
            next = frame + 1;
        }
        Some(())
    }

    /// The number of frames that this holds, including those of the numbers.
    pub(crate) fn count(&self) -> usize {
        self.held + self.numbers.frames()
    }

    /// Frees the frames.
    pub(crate) fn release(mut self) {
        self.free_from(0);
    }

    fn free_from(&mut self, first: usize) {
        for &frame in &self.numbers[first..self.held] {
            free(frame, Order::FRAME);
        }
        self.held = first;
    }
}

/// The measured allocator.
const SOURCE: KernelAllocator = KernelAllocator;

#[inline(always)]
fn context() -> AllocContext {
    // SAFETY: a context must be unique. Only one CPU measures, and the kernel's other code uses no context.
    unsafe { AllocContext::new(0) }
}

#[inline(always)]
pub(super) fn alloc(order: Order) -> FrameNumber {
    FrameNumber::new(opaque(try_alloc(order).expect(NO_MEMORY).get()))
}

#[inline(always)]
pub(super) fn try_alloc(order: Order) -> Option<FrameNumber> {
    SOURCE.alloc(&mut context(), order)
}

#[inline(always)]
pub(super) fn free(frame: FrameNumber, order: Order) {
    // SAFETY: the frames must be allocated, and their memory unused. Each caller frees what it has allocated, once, and does
    // not use the memory.
    unsafe { SOURCE.free(&mut context(), frame, order) }.expect("the bench frees its own frames");
}

/// Resets the caches, so that all measurements begin alike: an empty magazine, no block to refill from.
pub(super) fn reset() {
    SOURCE.drain(&mut context());
}

/// Allocates and frees a run of frames of this order.
pub(crate) fn pair<const ORDER: u8>(meter: &mut Meter, repetitions: u32) {
    let order = const { Order::new(ORDER).expect("an order that there is") };
    reset();
    free(alloc(order), order);
    meter.count(|| repeat(repetitions, || free(alloc(order), order)));
}

/// Allocates and frees a frame by its owning handle.
pub(crate) fn owned_pair(meter: &mut Meter, repetitions: u32) {
    reset();
    owned_pair_once();
    meter.count(|| repeat(repetitions, owned_pair_once));
}

#[inline(always)]
fn owned_pair_once() {
    let frame = OwnedFrame::alloc().expect(NO_MEMORY).into_raw();
    let number = FrameNumber::new(opaque(frame.get()));
    // SAFETY: the frame must have no other handle. `into_raw` returned this number.
    drop(unsafe { OwnedFrame::from_raw(number) });
}

/// Allocates [`BULK`] single frames one by one, then frees them one by one.
pub(crate) fn bulk(meter: &mut Meter, repetitions: u32) {
    let mut held = [FrameNumber::new(0); BULK];
    reset();
    take(&mut held);
    give(&held);
    meter.count(|| {
        repeat(repetitions, || {
            take(&mut held);
            give(&held);
        });
    });
}

/// The frees of [`bulk`].
pub(crate) fn bulk_free(meter: &mut Meter, repetitions: u32) {
    let mut held = [FrameNumber::new(0); BULK];
    reset();
    take(&mut held);
    give(&held);
    repeat(repetitions, || {
        take(&mut held);
        meter.count(|| give(&held));
    });
}

/// Allocates [`BULK`] single frames by one call, and frees them by another.
pub(crate) fn bulk_call(meter: &mut Meter, repetitions: u32) {
    let mut held = [FrameNumber::new(0); BULK];
    reset();
    let mut both = || {
        assert!(memory::alloc_bulk(&mut held) == BULK, "{NO_MEMORY}");
        // SAFETY: the frames must be allocated, and their memory unused. `alloc_bulk` has just allocated all of them.
        unsafe { memory::free_bulk(&held) }.expect("the bench frees its own frames");
    };
    both();
    meter.count(|| repeat(repetitions, both));
}

#[inline(always)]
fn take(held: &mut [FrameNumber; BULK]) {
    for slot in held {
        *slot = alloc(Order::FRAME);
    }
}

#[inline(always)]
fn give(held: &[FrameNumber; BULK]) {
    for &frame in held {
        free(frame, Order::FRAME);
    }
}
