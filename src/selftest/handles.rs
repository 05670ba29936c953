//! Owning handles: frames, frame ranges, batches and mappings are split, merged, mapped, dropped, leaked and recovered, and
//! the allocator has every frame again in the end.

use core::fmt;
use core::mem::MaybeUninit;

use crate::cpu::IrqGuard;
use crate::memory::frames::{FRAME_BYTES, FrameNumber, Invalid, Order};
use crate::memory::{self, FrameBatch, FrameRange, Mapping, OwnedFrame, REGION_PAGES, VmapError};
use crate::smp::{self, CallError, ShootdownError};

const EIGHT: Order = Order::new(3).expect("there are more orders than that");
const TWO_BLOCKS: Order = Order::new(10).expect("there are more orders than that");

/// Frames of a batch: more than a magazine moves at once.
const BATCH: usize = 96;

/// Pages of a mapping.
const PAGES: usize = 5;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// An allocation failed.
    OutOfMemory,
    /// A condition does not hold.
    Check {
        /// Which one.
        what: &'static str,
    },
    /// Frames were lost, or appeared.
    Frames {
        /// By what.
        what: &'static str,
        /// How many were free before.
        before: usize,
        /// How many are after.
        after: usize,
    },
    /// The allocator's books are wrong.
    Books(Invalid),
    /// A mapping could not be made.
    Map(VmapError),
    /// A mapping could not be flushed.
    Shootdown(ShootdownError),
    /// The CPUs could not be called.
    Call(CallError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::OutOfMemory => f.write_str("handles: no memory"),
            Failure::Check { what } => write!(f, "handles: not so: {what}"),
            Failure::Frames { what, before, after } => {
                write!(f, "handles: {what}: {before} free frames before, {after} after")
            }
            Failure::Books(invalid) => invalid.fmt(f),
            Failure::Map(error) => error.fmt(f),
            Failure::Shootdown(error) => error.fmt(f),
            Failure::Call(error) => error.fmt(f),
        }
    }
}

/// What is done by each kind of handle.
type Part = fn() -> Result<(), Failure>;

/// Runs the part. Only the boot processor calls this, with interrupts on, when all CPUs wait for work.
///
/// # Errors
/// The first failure.
pub fn run(_: u32) -> Result<(), Failure> {
    // Maps the region's page table, which stays.
    drop(map(&mut [FrameNumber::new(0); 1])?);
    smp::purge_mappings().map_err(Failure::Shootdown)?;
    let parts: [(&'static str, Part); 6] = [
        ("frames", frames),
        ("ranges", ranges),
        ("ranges of blocks", ranges_of_blocks),
        ("batches", batches),
        ("mappings", mappings),
        ("leaked handles", leaked),
    ];
    for (what, part) in parts {
        let before = free_frames()?;
        part()?;
        let after = free_frames()?;
        if before != after {
            return Err(Failure::Frames { what, before, after });
        }
    }
    let _guard = IrqGuard::new();
    memory::frames().validate().map_err(Failure::Books)?;
    log::info!("handles: {} checks passed, all frames freed", parts.len());
    Ok(())
}

/// The free frames, when no CPU caches any.
fn free_frames() -> Result<usize, Failure> {
    smp::call(&smp::all_online(), &|| memory::drain_this_cpu(&IrqGuard::new())).map_err(Failure::Call)?;
    let _guard = IrqGuard::new();
    Ok(memory::frames().free_frames())
}

fn check(what: &'static str, holds: bool) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::Check { what }) }
}

fn frames() -> Result<(), Failure> {
    let mut frame = OwnedFrame::alloc().ok_or(Failure::OutOfMemory)?;
    frame.as_uninit().write([0xa5; FRAME_BYTES]);
    check("a zeroed frame is zero", frame.zero().iter().all(|byte| *byte == 0))?;
    check("the address is the number's", frame.physical_address() == frame.number().address() as u64)?;
    let mut other = OwnedFrame::alloc_zeroed().ok_or(Failure::OutOfMemory)?;
    check("two frames are two", frame.number() != other.number())?;
    other.zero()[0] = 1;
    check("one frame's memory is not the other's", frame.zero()[0] == 0)
}

fn ranges() -> Result<(), Failure> {
    let mut range = FrameRange::alloc_zeroed(EIGHT).ok_or(Failure::OutOfMemory)?;
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
        Ok(_) => return Err(Failure::Check { what: "parts in the wrong order are not merged" }),
        Err(parts) => parts,
    };
    head = head_again;
    let frame = head.pop_first().ok_or(Failure::OutOfMemory)?;
    check("the first frame is taken", frame.number() == first && head.number() == first + 1)?;
    // A frame, 2 frames and 5 make 8 again, which are freed as one.
    let merged = FrameRange::from(frame).merge(head).and_then(|range| range.merge(tail));
    let merged = merged.map_err(|_| Failure::Check { what: "adjacent parts are merged" })?;
    check("the whole has its order again", merged.order() == Some(EIGHT) && merged.number() == first)?;
    // Dropped in parts that no order has.
    let (_, rest) = merged.split_at(1);
    let (_, last) = rest.split_at(6);
    check("an empty range is empty", last.split_at(1).1.frames() == 0)
}

fn ranges_of_blocks() -> Result<(), Failure> {
    let range = FrameRange::alloc(TWO_BLOCKS).ok_or(Failure::OutOfMemory)?;
    let (low, high) = range.split_at(Order::BLOCK.frames());
    let wanted = high.number();
    drop(high);
    // The block that was freed last is this CPU's next.
    let high = FrameRange::alloc(Order::BLOCK).ok_or(Failure::OutOfMemory)?;
    check("the block freed last comes next", high.number() == wanted)?;
    // Two allocations of order 9 make a range of order 10, which the allocator takes in pieces alone.
    let both = low.merge(high).map_err(|_| Failure::Check { what: "adjacent blocks are merged" })?;
    check("two blocks have order 10", both.order() == Some(TWO_BLOCKS))?;
    drop(both);
    // A block freed in parts, neither of them aligned.
    let block = FrameRange::alloc(Order::BLOCK).ok_or(Failure::OutOfMemory)?;
    let (low, high) = block.split_at(Order::BLOCK.frames() / 2 + 1);
    drop(high);
    drop(low);
    Ok(())
}

fn batches() -> Result<(), Failure> {
    let mut buffer = [FrameNumber::new(0); BATCH];
    let mut batch = FrameBatch::alloc(&mut buffer);
    check("a batch is full", batch.len() == BATCH && batch.capacity() == BATCH)?;
    let frame = batch.pop().ok_or(Failure::OutOfMemory)?;
    check("what was taken out is out", !batch.numbers().contains(&frame.number()))?;
    check("there is room for one again", batch.push(frame).is_ok())?;
    let one_more = OwnedFrame::alloc().ok_or(Failure::OutOfMemory)?;
    check("there is no room for another", batch.push(one_more).is_err())?;
    for _ in 0..BATCH / 2 {
        drop(batch.pop());
    }
    check("the other half is allocated again", batch.fill() == BATCH / 2 && batch.len() == BATCH)
}

fn map(buffer: &mut [FrameNumber]) -> Result<Mapping, Failure> {
    let pages = buffer.len();
    let frames = FrameBatch::alloc(buffer);
    if frames.len() < pages {
        return Err(Failure::OutOfMemory);
    }
    memory::vmap(frames).map_err(|(error, _)| Failure::Map(error))
}

fn mappings() -> Result<(), Failure> {
    let mut buffer = [FrameNumber::new(0); PAGES];
    let mut mapping = map(&mut buffer)?;
    mapping.as_uninit().iter_mut().zip(0..).for_each(|(byte, value): (&mut MaybeUninit<u8>, usize)| {
        byte.write((value / FRAME_BYTES) as u8);
    });
    // SAFETY: every byte was written above.
    let bytes = unsafe { core::slice::from_raw_parts(mapping.as_ptr(), mapping.bytes()) };
    let is_right = |(at, byte): (usize, &u8)| usize::from(*byte) == at / FRAME_BYTES;
    check("each page has its own frame", bytes.iter().enumerate().all(is_right))?;
    // Dropped, and settled by the next shootdown of another.
    let first = mapping.address();
    drop(mapping);
    let other = map(&mut buffer)?;
    check("stale addresses are not used", other.address() != first)?;
    smp::shootdown(other.unmap()).map_err(Failure::Shootdown)?;
    let left = smp::purge_mappings().map_err(Failure::Shootdown)?;
    check("a shootdown frees what was dropped before", left == 0)?;
    // Dropped, and settled alone; a stale range likewise.
    drop(map(&mut buffer)?);
    drop(map(&mut buffer)?.unmap());
    let freed = smp::purge_mappings().map_err(Failure::Shootdown)?;
    check("a purge frees what was dropped", freed == 2 * PAGES)?;
    let again = map(&mut buffer)?;
    check("settled addresses are used again", again.address() == first)?;
    drop(again);
    check("a purge frees the last", smp::purge_mappings() == Ok(PAGES))?;
    too_large()
}

/// More frames than the region has pages come back from `vmap`.
fn too_large() -> Result<(), Failure> {
    let mut buffer = [FrameNumber::new(0); REGION_PAGES + 1];
    let frames = FrameBatch::alloc(&mut buffer);
    if frames.len() <= REGION_PAGES {
        return Err(Failure::OutOfMemory);
    }
    match memory::vmap(frames) {
        Ok(_) => Err(Failure::Check { what: "a mapping larger than the region is refused" }),
        Err((error, frames)) => {
            let pages = REGION_PAGES + 1;
            check("the refusal says why", error == VmapError::NoRoom { pages })?;
            check("refused frames come back", frames.len() == pages)
        }
    }
}

fn leaked() -> Result<(), Failure> {
    let before = free_frames()?;
    let frame = OwnedFrame::alloc().ok_or(Failure::OutOfMemory)?;
    let number = frame.number();
    core::mem::forget(frame);
    check("a leaked frame stays allocated", free_frames()? == before - 1)?;
    // SAFETY: the frame's only handle was leaked above.
    drop(unsafe { OwnedFrame::from_raw(number) });
    Ok(())
}
