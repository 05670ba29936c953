//! What frames cost, through the same calls that everybody uses, interrupts on before and after.

use super::meter::{Meter, opaque, repeat};
use crate::memory::frames::{FrameNumber, Order};
use crate::memory::source::{AllocContext, FrameSource};
use crate::memory::{self, KernelAllocator, OwnedFrame, ZeroedSlice};

/// Pages of a bulk: those of a block of 2 MiB, and several times what a CPU keeps.
pub const BULK: usize = 512;

const NO_MEMORY: &str = "a machine with too little memory for the bench";

/// Frames of blocks that are in use in part, held so that everything measured here draws on whole blocks: what is left
/// between the kernel and its neighbours in memory is another machine's business.
pub struct Loose {
    /// Their numbers, in frames of their own until the bench ends.
    numbers: ZeroedSlice<FrameNumber>,
    held: usize,
}

impl Loose {
    /// More are not to be expected: a memory map has few edges.
    const MOST: usize = 4096;

    /// Takes frames until there is a whole block of them in a row, and gives that back. `None` if there is none.
    pub fn hold() -> Option<Loose> {
        let mut loose = Loose { numbers: ZeroedSlice::new(Self::MOST)?, held: 0 };
        if loose.take_to_a_whole_block().is_none() {
            loose.release();
            return None;
        }
        loose.give_back_from(loose.held - BULK);
        Some(loose)
    }

    fn take_to_a_whole_block(&mut self) -> Option<()> {
        begin_anew();
        let (mut in_a_row, mut next) = (0, FrameNumber::new(0));
        while in_a_row < BULK {
            let place = self.numbers.get_mut(self.held)?;
            let frame = SOURCE.alloc(&mut context(), Order::FRAME)?;
            *place = frame;
            self.held += 1;
            let follows = in_a_row > 0 && frame == next;
            in_a_row = if follows { in_a_row + 1 } else { usize::from(frame.is_aligned_to(Order::BLOCK)) };
            next = frame + 1;
        }
        Some(())
    }

    /// How many frames this holds, those of the numbers included.
    pub fn count(&self) -> usize {
        self.held + self.numbers.frames()
    }

    /// Frees them.
    pub fn release(mut self) {
        self.give_back_from(0);
    }

    fn give_back_from(&mut self, first: usize) {
        for &frame in &self.numbers[first..self.held] {
            free(frame, Order::FRAME);
        }
        self.held = first;
    }
}

/// What is measured.
const SOURCE: KernelAllocator = KernelAllocator;

#[inline(always)]
fn context() -> AllocContext {
    // SAFETY: one CPU measures, and nothing of the kernel's other work has a context.
    unsafe { AllocContext::new(0) }
}

#[inline(always)]
fn alloc(order: Order) -> FrameNumber {
    FrameNumber::new(opaque(SOURCE.alloc(&mut context(), order).expect(NO_MEMORY).get()))
}

#[inline(always)]
fn free(frame: FrameNumber, order: Order) {
    // SAFETY: every caller frees what it has allocated, once; the bench does not use the frames' memory.
    unsafe { SOURCE.free(&mut context(), frame, order) }.expect("the bench frees what it has got");
}

/// Begins as every other time: nothing in the magazine, no block to refill from.
fn begin_anew() {
    SOURCE.drain(&mut context());
}

/// A run of frames of that order taken and given back.
pub fn pair<const ORDER: u8>(meter: &mut Meter, repetitions: u32) {
    let order = const { Order::new(ORDER).expect("an order that there is") };
    begin_anew();
    free(alloc(order), order);
    meter.count(|| repeat(repetitions, || free(alloc(order), order)));
}

/// A frame allocated and freed by its owning handle.
pub fn owned_pair(meter: &mut Meter, repetitions: u32) {
    begin_anew();
    owned_pair_once();
    meter.count(|| repeat(repetitions, owned_pair_once));
}

#[inline(always)]
fn owned_pair_once() {
    let frame = OwnedFrame::alloc().expect(NO_MEMORY).into_raw();
    let number = FrameNumber::new(opaque(frame.get()));
    // SAFETY: it is the number that `into_raw` returned.
    drop(unsafe { OwnedFrame::from_raw(number) });
}

/// [`BULK`] single frames taken one by one, then given back one by one.
pub fn bulk(meter: &mut Meter, repetitions: u32) {
    let mut held = [FrameNumber::new(0); BULK];
    begin_anew();
    take(&mut held);
    give(&held);
    meter.count(|| {
        repeat(repetitions, || {
            take(&mut held);
            give(&held);
        });
    });
}

/// Of [`bulk`], the giving back.
pub fn bulk_free(meter: &mut Meter, repetitions: u32) {
    let mut held = [FrameNumber::new(0); BULK];
    begin_anew();
    take(&mut held);
    give(&held);
    repeat(repetitions, || {
        take(&mut held);
        meter.count(|| give(&held));
    });
}

/// [`BULK`] single frames taken by one call and given back by another.
pub fn bulk_call(meter: &mut Meter, repetitions: u32) {
    let mut held = [FrameNumber::new(0); BULK];
    begin_anew();
    let mut both = || {
        assert!(memory::alloc_bulk(&mut held) == BULK, "{NO_MEMORY}");
        // SAFETY: `alloc_bulk` has just allocated all of these frames; the bench does not use their memory.
        unsafe { memory::free_bulk(&held) }.expect("the bench frees what it has got");
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
