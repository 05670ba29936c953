//! Checks the owning handles. Frames, frame ranges, batches and mappings are split, merged, mapped, dropped, leaked and
//! recovered. In the end the allocator has every frame again.

use core::mem::MaybeUninit;

use super::check::{
    CheckResult, Failed, ensure, expect_free_frames, fail, failed, free_frames, send_facts, validate_frames,
};
use crate::memory::frames::{FRAME_BYTES, FrameNumber, Order};
use crate::memory::{self, FrameBatch, FrameRange, Mapping, OwnedFrame, REGION_PAGES, VmapError};
use crate::smp;

const EIGHT: Order = Order::new(3).expect("there are more orders than that");
const TWO_BLOCKS: Order = Order::new(10).expect("there are more orders than that");

/// Frames of a batch: more than a magazine transfers at once.
const BATCH: usize = 96;

/// Pages of a mapping.
const PAGES: usize = 5;

/// The checks of one kind of handle.
type Step = fn() -> CheckResult;

/// Runs the part.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// The first failed check.
pub(crate) fn run(_: u32) -> CheckResult {
    // The first mapping allocates the region's page table, which stays.
    drop(map(&mut [FrameNumber::new(0); 1])?);
    smp::purge_mappings()?;
    let steps: [(&'static str, Step); 6] = [
        ("frames", frames),
        ("ranges", ranges),
        ("ranges of blocks", ranges_of_blocks),
        ("batches", batches),
        ("mappings", mappings),
        ("leaked handles", leaked),
    ];
    for (name, step) in steps {
        let before = free_frames()?;
        step()?;
        expect_free_frames(before, name)?;
    }
    validate_frames()?;
    log::info!("handles: {} checks passed, all frames freed", steps.len());
    send_facts("selftest.handles", &[("checks", steps.len() as u64)]);
    Ok(())
}

fn no_memory() -> Failed {
    failed(format_args!("handles: out of memory"))
}

fn check(property: &str, holds: bool) -> CheckResult {
    ensure!(holds, "handles: not so: {property}");
    Ok(())
}

fn frames() -> CheckResult {
    let mut frame = OwnedFrame::alloc().ok_or_else(no_memory)?;
    frame.as_uninit().write([0xa5; FRAME_BYTES]);
    check("a zeroed frame is zero", frame.zero().iter().all(|byte| *byte == 0))?;
    check("the address is the number's", frame.physical_address() == frame.number().address() as u64)?;
    let mut other = OwnedFrame::alloc_zeroed().ok_or_else(no_memory)?;
    check("two frames are two", frame.number() != other.number())?;
    other.zero()[0] = 1;
    check("one frame's memory is not the other's", frame.zero()[0] == 0)
}

fn ranges() -> CheckResult {
    let mut range = FrameRange::alloc_zeroed(EIGHT).ok_or_else(no_memory)?;
    let first = range.number();
    check("an allocation has its order", range.order() == Some(EIGHT) && first.is_aligned_to(EIGHT))?;
    let bytes = range.zero();
    check(
        "a range has all of its bytes",
        bytes.len() == EIGHT.bytes() && bytes.iter().all(|byte| *byte == 0),
    )?;
    let (mut head, tail) = range.split_at(3);
    check("a part of 3 frames has no order", head.order().is_none() && head.frames() == 3)?;
    check("parts are adjacent", tail.number() == first + 3 && tail.frames() == 5)?;
    let (tail, head_again) = match tail.merge(head) {
        Ok(_) => return fail!("handles: not so: parts in the wrong order are not merged"),
        Err(parts) => parts,
    };
    head = head_again;
    let frame = head.pop_first().ok_or_else(no_memory)?;
    check("the first frame is taken", frame.number() == first && head.number() == first + 1)?;
    // 1, 2 and 5 frames make 8 again, which are freed as one.
    let merged = FrameRange::from(frame).merge(head).and_then(|range| range.merge(tail));
    let merged = merged.map_err(|_| failed(format_args!("handles: not so: adjacent parts are merged")))?;
    check("the whole has its order again", merged.order() == Some(EIGHT) && merged.number() == first)?;
    // Dropped in parts whose sizes are no power of two.
    let (_, rest) = merged.split_at(1);
    let (_, last) = rest.split_at(6);
    check("an empty range is empty", last.split_at(1).1.frames() == 0)
}

fn ranges_of_blocks() -> CheckResult {
    let range = FrameRange::alloc(TWO_BLOCKS).ok_or_else(no_memory)?;
    let (low, high) = range.split_at(Order::BLOCK.frames());
    let wanted = high.number();
    drop(high);
    // This CPU allocates next the block that it freed last.
    let high = FrameRange::alloc(Order::BLOCK).ok_or_else(no_memory)?;
    check("the block freed last comes next", high.number() == wanted)?;
    // A range of two allocations of order 9 has order 10, but is freed as two blocks.
    let both =
        low.merge(high).map_err(|_| failed(format_args!("handles: not so: adjacent blocks are merged")))?;
    check("two blocks have order 10", both.order() == Some(TWO_BLOCKS))?;
    drop(both);
    // A block is freed in two parts that are not aligned.
    let block = FrameRange::alloc(Order::BLOCK).ok_or_else(no_memory)?;
    let (low, high) = block.split_at(Order::BLOCK.frames() / 2 + 1);
    drop(high);
    drop(low);
    Ok(())
}

fn batches() -> CheckResult {
    let mut buffer = [FrameNumber::new(0); BATCH];
    let mut batch = FrameBatch::alloc(&mut buffer);
    check("a batch is full", batch.len() == BATCH && batch.capacity() == BATCH)?;
    let frame = batch.pop().ok_or_else(no_memory)?;
    check("a popped frame is no longer in the batch", !batch.numbers().contains(&frame.number()))?;
    check("a batch with room takes a frame", batch.push(frame).is_ok())?;
    let one_more = OwnedFrame::alloc().ok_or_else(no_memory)?;
    check("a full batch rejects a frame", batch.push(one_more).is_err())?;
    for _ in 0..BATCH / 2 {
        drop(batch.pop());
    }
    check("the other half is allocated again", batch.fill() == BATCH / 2 && batch.len() == BATCH)
}

fn map(buffer: &mut [FrameNumber]) -> CheckResult<Mapping> {
    let pages = buffer.len();
    let frames = FrameBatch::alloc(buffer);
    if frames.len() < pages {
        return Err(no_memory());
    }
    Ok(memory::vmap(frames).map_err(|(error, _)| error)?)
}

fn mappings() -> CheckResult {
    let mut buffer = [FrameNumber::new(0); PAGES];
    let mut mapping = map(&mut buffer)?;
    mapping.as_uninit().iter_mut().zip(0..).for_each(|(byte, value): (&mut MaybeUninit<u8>, usize)| {
        byte.write((value / FRAME_BYTES) as u8);
    });
    // SAFETY: the slice must be initialised and mapped. Every byte was written above, and `mapping` lives on.
    let bytes = unsafe { core::slice::from_raw_parts(mapping.as_ptr(), mapping.bytes()) };
    let is_right = |(at, byte): (usize, &u8)| usize::from(*byte) == at / FRAME_BYTES;
    check("each page has its own frame", bytes.iter().enumerate().all(is_right))?;
    // A dropped mapping is flushed by the next shootdown of another.
    let first = mapping.address();
    drop(mapping);
    let other = map(&mut buffer)?;
    check("stale addresses are not used", other.address() != first)?;
    smp::shootdown(other.unmap())?;
    let left = smp::purge_mappings()?;
    check("a shootdown frees mappings dropped before", left == 0)?;
    // A dropped mapping and a dropped stale range are flushed by a purge.
    drop(map(&mut buffer)?);
    drop(map(&mut buffer)?.unmap());
    let freed = smp::purge_mappings()?;
    check("a purge frees dropped mappings", freed == 2 * PAGES)?;
    let again = map(&mut buffer)?;
    check("flushed addresses are used again", again.address() == first)?;
    drop(again);
    check("a purge frees the last", smp::purge_mappings() == Ok(PAGES))?;
    too_large()
}

/// `vmap` rejects more frames than the region has pages, and returns them.
fn too_large() -> CheckResult {
    let mut buffer = [FrameNumber::new(0); REGION_PAGES + 1];
    let frames = FrameBatch::alloc(&mut buffer);
    if frames.len() <= REGION_PAGES {
        return Err(no_memory());
    }
    match memory::vmap(frames) {
        Ok(_) => fail!("handles: not so: a mapping larger than the region is rejected"),
        Err((error, frames)) => {
            let pages = REGION_PAGES + 1;
            check("the error is NoRoom", error == VmapError::NoRoom { pages })?;
            check("vmap returns the frames on an error", frames.len() == pages)
        }
    }
}

fn leaked() -> CheckResult {
    let before = free_frames()?;
    let frame = OwnedFrame::alloc().ok_or_else(no_memory)?;
    let number = frame.number();
    core::mem::forget(frame);
    check("a leaked frame stays allocated", free_frames()? == before - 1)?;
    // SAFETY: the frame must have no other handle. Its only handle was leaked above.
    drop(unsafe { OwnedFrame::from_raw(number) });
    Ok(())
}
