//! Checks the owning handles. Frames, frame ranges, batches and mappings are split, merged, mapped, dropped, leaked and
//! recovered. In the end the allocator has every frame again.

use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, Ordering};

use super::check::{
    CheckResult, Failed, ensure, expect_free_frames, fail, failed, free_frames, send_facts, validate_frames,
};
use crate::memory::frames::{FRAME_BYTES, FrameNumber, Order};
use crate::memory::{
    self, DeviceMapping, DeviceMappingError, DeviceMemory, FrameBatch, FrameRange, Mapping, OwnedFrame,
    VmapError,
};
use crate::smp;

const EIGHT: Order = Order::new(3).expect("there are more orders than that");
const TWO_BLOCKS: Order = Order::new(10).expect("there are more orders than that");

/// Frames of a batch: more than a magazine transfers at once.
const BATCH: usize = 96;

/// More blocks than are free in runs of their size when the self-test begins.
const MANY_BLOCKS: usize = 64;

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
    let steps: [(&'static str, Step); 7] = [
        ("frames", frames),
        ("ranges", ranges),
        ("ranges of blocks", ranges_of_blocks),
        ("batches", batches),
        ("mappings", mappings),
        ("mappings without frames", without_frames),
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
    // It is allocated again, by itself, before the blocks run out. Those that come before it are free at the end.
    let mut others = [const { None }; MANY_BLOCKS];
    let mut others = others.iter_mut();
    let high = loop {
        let block = FrameRange::alloc(Order::BLOCK).ok_or_else(no_memory)?;
        if block.number() == wanted {
            break block;
        }
        let other = others.next();
        *other.ok_or_else(|| failed(format_args!("handles: not so: a freed block is among the next")))? =
            Some(block);
    };
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
    // The addresses of a dropped mapping are not used before a flush.
    let first = mapping.address();
    drop(mapping);
    let other = map(&mut buffer)?;
    check("stale addresses are not used", other.address() != first)?;
    // A shootdown frees its own range at once.
    let second = other.address();
    smp::shootdown(other.unmap())?;
    let again = map(&mut buffer)?;
    check("flushed addresses are used again", again.address() == second)?;
    // A dropped mapping and a dropped stale range are freed by a purge.
    drop(again.unmap());
    check("a purge frees dropped mappings", smp::purge_mappings()? == 2 * PAGES)?;
    check("a purge leaves nothing", smp::purge_mappings()? == 0)?;
    sizes()?;
    rights()?;
    device()?;
    too_large()
}

/// `mov eax, 42; ret`.
const CODE: [u8; 6] = [0xb8, 42, 0, 0, 0, 0xc3];

/// A mapping becomes read-only, then code, which runs on every CPU. It is never writable and executable.
fn rights() -> CheckResult {
    for pages in [1, 512] {
        let mut mapping = Mapping::new(pages)?;
        let address = mapping.address();
        let rights = || memory::access_at(address).map(|(access, _)| (access.writable, access.executable));
        mapping.as_uninit().iter_mut().zip(CODE).for_each(|(byte, value)| {
            byte.write(value);
        });
        check("a mapping is writable", rights() == Some((true, false)))?;
        let read_only = smp::make_read_only(mapping)?;
        check("a read-only mapping is not writable", rights() == Some((false, false)))?;
        let code = smp::make_executable(read_only)?;
        check("code is executable and not writable", rights() == Some((false, true)))?;
        // SAFETY: the mapping must contain a function of this type, and be executable: `CODE` was written to its start, and
        // `make_executable` has made it so on every CPU.
        let function = unsafe { core::mem::transmute::<*const u8, extern "C" fn() -> u32>(code.as_ptr()) };
        let wrong = AtomicU32::new(0);
        smp::call(&smp::all_online(), &|| {
            wrong.fetch_add(u32::from(function() != 42), Ordering::Relaxed);
        })?;
        check("every CPU runs the code", wrong.load(Ordering::Relaxed) == 0)?;
        drop(code);
        check("dropped code is not mapped", rights().is_none())?;
    }
    Ok(())
}

/// Physical addresses at which no device is: the memory type is what is asked for, and no frame is freed with the mapping.
fn device() -> CheckResult {
    // Above the RAM of any machine of the tests, and within the 40 bits of QEMU's processors.
    const NOWHERE: u64 = (1 << 38) + (2 << 20);
    for (pages, memory) in
        [(1, DeviceMemory::Uncacheable), (3, DeviceMemory::WriteCombining), (513, DeviceMemory::WriteBack)]
    {
        // SAFETY: accesses must change nothing that Rust code relies on. There are none.
        let mapping = unsafe { DeviceMapping::new(NOWHERE, pages, memory) }?;
        check("a device mapping has its pages", mapping.pages() == pages)?;
        let access = memory::access_at(mapping.as_ptr() as u64);
        check(
            "a device mapping is data",
            access.is_some_and(|(access, _)| access.writable && !access.executable),
        )?;
    }
    for (physical, pages) in [(1 << 52, 1), (NOWHERE, usize::MAX)] {
        // SAFETY: accesses must change nothing that Rust code relies on. There are none, as the call is refused.
        let refused = unsafe { DeviceMapping::new(physical, pages, DeviceMemory::Uncacheable) };
        check(
            "an address beyond those of the processor is refused",
            matches!(refused, Err(DeviceMappingError::TooHigh { .. })),
        )?;
    }
    let frame = OwnedFrame::alloc().ok_or_else(no_memory)?;
    let physical = frame.physical_address();
    // SAFETY: accesses must change nothing that Rust code relies on. There are none, as the call is refused.
    let refused = unsafe { DeviceMapping::new(physical, 1, DeviceMemory::Uncacheable) };
    check(
        "RAM is not mapped as a device",
        matches!(refused, Err(DeviceMappingError::InUse { physical: found }) if found == physical),
    )
}

/// Mappings of all kinds of sizes: each page has a frame of its own, and the pages around are not mapped.
fn sizes() -> CheckResult {
    for pages in [1, 2, 3, 64, 65, 511, 512, 513, 1024 + 7] {
        let mut mapping = Mapping::new(pages)?;
        check("a mapping has its pages", mapping.pages() == pages && mapping.bytes() == pages * FRAME_BYTES)?;
        let memory = mapping.as_uninit();
        for page in 0..pages {
            memory[page * FRAME_BYTES].write(page as u8);
            memory[(page + 1) * FRAME_BYTES - 1].write((page >> 8) as u8);
        }
        let bytes: *const u8 = mapping.as_ptr();
        let read = |at: usize| {
            // SAFETY: the byte must be initialised and mapped. It was written above, and `mapping` lives on.
            unsafe { bytes.wrapping_add(at).read() }
        };
        let is_right = |page: usize| {
            (read(page * FRAME_BYTES), read((page + 1) * FRAME_BYTES - 1)) == (page as u8, (page >> 8) as u8)
        };
        check("each page of a mapping has its own frame", (0..pages).all(is_right))?;
        let (first, end) = (mapping.address(), mapping.address() + mapping.bytes() as u64);
        check("the page before a mapping is not mapped", memory::access_at(first - 1).is_none())?;
        check("the page behind a mapping is not mapped", memory::access_at(end).is_none())?;
        let is_data = |address| {
            memory::access_at(address).is_some_and(|(access, _)| access.writable && !access.executable)
        };
        check(
            "all pages of a mapping are data",
            (0..pages).all(|page| is_data(first + (page * FRAME_BYTES) as u64)),
        )?;
        if pages >= 512 {
            let bytes = memory::access_at(first).map_or(0, |(_, bytes)| bytes);
            check("a large mapping has large pages", bytes == 2 << 20)?;
        }
    }
    Ok(())
}

/// A mapping of more pages than the region has, or than there are frames, is refused as a whole.
fn too_large() -> CheckResult {
    let refused = Mapping::new(memory::mapping_region_pages());
    let pages = memory::mapping_region_pages();
    check("the error is NoRoom", refused.err() == Some(VmapError::NoRoom { pages }))?;
    check("a mapping without pages is refused", Mapping::new(0).err() == Some(VmapError::Empty))?;
    let before = free_frames()?;
    let refused = Mapping::new(memory::total_frames() + 1);
    check("a mapping of more frames than there are is refused", matches!(refused, Err(VmapError::Map(_))))?;
    expect_free_frames(before, "a refused mapping")
}

/// A mapping that gets some of its frames, and not all, is refused and keeps none: of a small slot, and of one with segments of its own.
fn without_frames() -> CheckResult {
    const LEFT: usize = 400;
    let mut held = alloc::vec::Vec::with_capacity(memory::total_frames());
    let before = free_frames()?;
    for _ in LEFT..before {
        held.push(OwnedFrame::alloc().ok_or_else(no_memory)?);
    }
    // A segment has 512 pages. More than are left are needed in the first one, and in the second.
    for pages in [LEFT + 50, LEFT + 50 + 512] {
        let refused = Mapping::new(pages);
        check(
            "a mapping of more frames than are left is refused",
            matches!(refused, Err(VmapError::Map(_))),
        )?;
        expect_free_frames(LEFT, "a mapping that got some of its frames")?;
    }
    held.truncate(before - LEFT - 100);
    // Likely at the same addresses, where every page is new.
    let mut mapping = Mapping::new(LEFT + 50)?;
    let bytes = mapping.as_uninit();
    bytes.iter_mut().for_each(|byte| {
        byte.write(0x5a);
    });
    Ok(())
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
