//! Costs of an allocation when only the other CPU's cache has free frames: the instructions of both CPUs.

use super::frames::{NO_MEMORY, alloc, free, reset, try_alloc};
use super::many_frames::AllRuns;
use super::meter::Meter;
use crate::cpu::IrqGuard;
use crate::memory::ZeroedSlice;
use crate::memory::cache::end_shortage;
use crate::memory::frames::{FrameNumber, Order};
use crate::smp;

/// The machine's memory, all allocated.
struct NoMemory {
    blocks: AllRuns,
    singles: ZeroedSlice<FrameNumber>,
    count: usize,
}

impl NoMemory {
    /// The most single frames that are expected beside whole blocks.
    const MOST: usize = 8192;

    fn new() -> NoMemory {
        let mut singles = ZeroedSlice::<FrameNumber>::new(Self::MOST).expect(NO_MEMORY);
        let blocks = AllRuns::alloc(Order::BLOCK);
        let mut count = 0;
        while let Some(frame) = try_alloc(Order::FRAME) {
            singles[count] = frame;
            count += 1;
        }
        end_shortage(&IrqGuard::new());
        NoMemory { blocks, singles, count }
    }

    fn release(self) {
        self.singles[..self.count].iter().for_each(|&frame| free(frame, Order::FRAME));
        self.blocks.free();
        // Other benches find caches in use.
        let ended = smp::call(&smp::all_online(), &|| end_shortage(&IrqGuard::new()));
        assert!(ended.is_ok(), "a call to an idle CPU was not answered");
    }
}

/// Frees a run on the other CPU, which caches it, as a CPU does that has not learned yet that memory is short.
fn free_remotely(frame: FrameNumber, order: Order) {
    let freed = smp::call(&smp::other_online(), &|| {
        end_shortage(&IrqGuard::new());
        free(frame, order);
    });
    assert!(freed.is_ok(), "a call to an idle CPU was not answered");
}

/// Allocates a block that the other CPU has freed last.
pub(super) fn steal_block(meter: &mut Meter, repetitions: u32) {
    let mut memory = NoMemory::new();
    let mut block = memory.blocks.take_one();
    for _ in 0..repetitions {
        free_remotely(block, Order::BLOCK);
        meter.count(|| block = alloc(Order::BLOCK));
    }
    free(block, Order::BLOCK);
    memory.release();
}

/// Allocates a frame of a block that the other CPU has freed last.
pub(super) fn split_block(meter: &mut Meter, repetitions: u32) {
    let mut memory = NoMemory::new();
    let mut block = memory.blocks.take_one();
    let mut frame = block;
    for _ in 0..repetitions {
        free_remotely(block, Order::BLOCK);
        meter.count(|| frame = alloc(Order::FRAME));
        free(frame, Order::FRAME);
        reset();
        block = alloc(Order::BLOCK);
    }
    free(block, Order::BLOCK);
    memory.release();
}

/// Allocates a frame that the other CPU has freed last.
pub(super) fn drain_magazine(meter: &mut Meter, repetitions: u32) {
    let mut memory = NoMemory::new();
    memory.count -= 1;
    let mut frame = memory.singles[memory.count];
    for _ in 0..repetitions {
        free_remotely(frame, Order::FRAME);
        meter.count(|| frame = alloc(Order::FRAME));
    }
    free(frame, Order::FRAME);
    memory.release();
}
