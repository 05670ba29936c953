//! The frame allocator, as this CPU sees it: through its own magazine, with interrupts off for as long as that takes.

use spin::Once;

use super::frame_counts::{
    BLOCK_ALLOCS, BLOCK_FREES, BULK_ALLOCS, BULK_FREES, DRAINS, FAILURES, FLUSHES, REFILLS, RUN_ALLOCS,
    RUN_FREES,
};
#[cfg(feature = "faults")]
use super::frames::faults;
use super::frames::{CAPACITY, FrameNumber, Frames, FreeError, Order};
use super::out_of_memory::search_and_ask;
#[cfg(feature = "faults")]
use super::own_magazine::let_handler_in;
use super::own_magazine::{fall_asleep, is_shut, open, pop, push, with_magazine};
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;
use crate::trace;

static FRAMES: Once<Frames> = Once::new();
crate::name_lock!(FRAMES, |_, is_so| FRAMES.get().is_some_and(|frames| frames.lock_owners().any(is_so)));

pub(super) fn set_frames(frames: Frames) {
    FRAMES.call_once(|| frames);
}

/// The shared layers of the allocator. What they do needs interrupts off.
pub(crate) fn frames() -> &'static Frames {
    FRAMES.get().expect("frames are used before the memory stage")
}

/// How many frames the allocator has, free or in use.
///
/// **Context:** any, once the boot has set up memory.
pub fn total_frames() -> usize {
    frames().total_frames()
}

/// How many frames are free in the shared layers. It is exact while no CPU allocates or frees; frames that CPUs cache count as
/// in use.
///
/// **Context:** any, once the boot has set up memory. It reads the state of each 2 MiB: not for hot paths.
pub fn free_frames() -> usize {
    frames().free_frames()
}

/// The first of `2^order` frames, naturally aligned, which the caller owns from then on. With interrupts on: if there is none, the other CPUs are asked for what they
/// keep, which waits for them; `None` then means that no CPU has one to spare. With interrupts off: `None` at once.
#[inline(always)]
pub(crate) fn alloc(order: Order) -> Option<FrameNumber> {
    let guard = IrqGuard::new();
    if order == Order::FRAME {
        // Only the magazine is needed for this, and no other word of memory is looked at.
        if let Some(frame) = pop(&guard) {
            drop(guard);
            return Some(frame);
        }
    }
    // Each takes the guard, so that its end need not be told apart from that of the short way. Callers mostly know the
    // order, and then only one is left.
    let beyond = match order {
        Order::FRAME => alloc_with_search,
        order if order < Order::BLOCK => alloc_run,
        _ => alloc_blocks,
    };
    // Looked at here, so that the short way has one end only, and no caller looks at it again.
    let frame = beyond(guard, order)?;
    Some(frame)
}

/// [`alloc`] for orders 1 to 8. What is done seldom is a function of its own, so that no register has to be saved here.
#[inline(never)]
fn alloc_run(guard: IrqGuard, order: Order) -> Option<FrameNumber> {
    RUN_ALLOCS.increment();
    if is_shut() {
        return alloc_with_search(guard, order);
    }
    if let Some(frame) = with_magazine(&guard, |frames, magazine| frames.alloc_kept(magazine, order)) {
        drop(guard);
        return Some(frame);
    }
    alloc_run_at_hand(guard, order)
}

/// [`alloc_run`] for a run that this CPU does not keep.
#[inline(never)]
fn alloc_run_at_hand(guard: IrqGuard, order: Order) -> Option<FrameNumber> {
    if let Some(frame) = with_magazine(&guard, |frames, magazine| frames.alloc_at_hand(magazine, order)) {
        drop(guard);
        return Some(frame);
    }
    alloc_with_search(guard, order)
}

/// [`alloc`] for orders 9 and above.
#[inline(never)]
fn alloc_blocks(guard: IrqGuard, order: Order) -> Option<FrameNumber> {
    BLOCK_ALLOCS.increment();
    if is_shut() {
        return alloc_with_search(guard, order);
    }
    let at_hand = with_magazine(&guard, |frames, magazine| {
        frames.alloc_kept(magazine, order).or_else(|| frames.alloc_whole(magazine, order))
    });
    if let Some(frame) = at_hand {
        drop(guard);
        return Some(frame);
    }
    alloc_with_search(guard, order)
}

/// What [`alloc`] does when nothing is at hand.
#[cold]
#[inline(never)]
fn alloc_with_search(#[allow(unused_mut)] mut guard: IrqGuard, order: Order) -> Option<FrameNumber> {
    if is_shut() && !open(&guard) {
        return None;
    }
    #[cfg(feature = "faults")]
    let_handler_in(&mut guard);
    if order == Order::FRAME {
        REFILLS.increment();
    }
    if let Some(frame) = with_magazine(&guard, |frames, magazine| frames.alloc(magazine, order)) {
        trace!(FrameRefill, order.get().into(), frame.get() as u64);
        return Some(frame);
    }
    let may_wait = guard.were_enabled();
    #[cfg(feature = "faults")]
    let may_wait = may_wait || faults::is_armed(faults::Fault::WaitInHandler);
    drop(guard);
    let found =
        if may_wait { search_and_ask(order, |frames, magazine| frames.alloc(magazine, order)) } else { None };
    if found.is_none() {
        count_failure(order);
    }
    found
}

/// As [`alloc`], but never waits.
pub(crate) fn alloc_without_waiting(order: Order) -> Option<FrameNumber> {
    let guard = IrqGuard::new();
    if !open(&guard) {
        return None;
    }
    let found = with_magazine(&guard, |frames, magazine| frames.alloc(magazine, order));
    if found.is_none() {
        count_failure(order);
    }
    found
}

/// Counts a request that got nothing.
#[cold]
pub(super) fn count_failure(order: Order) {
    FAILURES.increment();
    trace!(OutOfMemory, order.get().into());
}

/// Frees `2^order` frames; any CPU may. Never waits but for the shared buddy's lock.
///
/// # Errors
/// What was wrong, as far as the allocator can tell; the frames stay as they were. In release builds the error of a single
/// frame may come from a later call, and names that frame.
///
/// # Safety
/// The caller owns the frames: each was allocated and has not been freed since, and nothing uses their memory any more. The
/// orders at which they were allocated do not matter; what cannot be freed at once is refused as `WrongOrder`. A free that the allocator is certain to refuse (frames that it does not have in use) is no
/// violation.
#[inline(always)]
pub(crate) unsafe fn free(frame: FrameNumber, order: Order) -> Result<(), FreeError> {
    let guard = IrqGuard::new();
    if order == Order::FRAME && !Frames::CHECKS_EACH_FREE && push(&guard, frame).is_ok() {
        drop(guard);
        return Ok(());
    }
    let beyond = match order {
        Order::FRAME => free_beyond_magazine,
        order if order < Order::BLOCK => free_run,
        _ => free_blocks,
    };
    beyond(guard, frame, order)?;
    Ok(())
}

/// [`free`] for orders 1 to 8.
#[inline(never)]
fn free_run(guard: IrqGuard, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
    RUN_FREES.increment();
    if is_shut() {
        return free_shut(guard, frame, order);
    }
    if with_magazine(&guard, |frames, magazine| frames.keep_run(magazine, frame, order)) {
        drop(guard);
        return Ok(());
    }
    free_run_beyond_magazine(guard, frame, order)
}

/// [`free_run`] for a run that is not kept, or wrong.
#[inline(never)]
fn free_run_beyond_magazine(guard: IrqGuard, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
    let result = with_magazine(&guard, |frames, magazine| frames.free_run(magazine, frame, order));
    drop(guard);
    result
}

/// [`free`] for orders 9 and above.
#[inline(never)]
fn free_blocks(guard: IrqGuard, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
    BLOCK_FREES.increment();
    if is_shut() {
        return free_shut(guard, frame, order);
    }
    let result = with_magazine(&guard, |frames, magazine| frames.free_blocks(magazine, frame, order));
    drop(guard);
    result
}

/// What [`free`] does with a single frame when the magazine has no room.
#[cold]
#[inline(never)]
fn free_beyond_magazine(guard: IrqGuard, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
    if is_shut() {
        return free_shut(guard, frame, order);
    }
    with_magazine(&guard, |frames, magazine| {
        // Checked builds come here with every frame.
        if !Frames::CHECKS_EACH_FREE || magazine.len() == CAPACITY {
            FLUSHES.increment();
        }
        frames.free(magazine, frame, order)
    })
}

/// [`free`] on a CPU that keeps nothing.
#[cold]
#[inline(never)]
fn free_shut(guard: IrqGuard, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
    if !open(&guard) {
        return Err(FreeError::Barred { frame });
    }
    with_magazine(&guard, |frames, magazine| frames.free(magazine, frame, order))
}

/// As many single frames as `out` has room for, in one go; how many there were, at its start. Never waits; what other CPUs
/// keep is not asked for.
pub(crate) fn alloc_bulk(out: &mut [FrameNumber]) -> usize {
    let guard = IrqGuard::new();
    if is_shut() && !open(&guard) {
        return 0;
    }
    let taken = with_magazine(&guard, |frames, magazine| frames.alloc_bulk(magazine, out));
    BULK_ALLOCS.add(taken as u64);
    taken
}

/// Frees single frames in one go; any CPU may. Interrupts are off for as long as that takes.
///
/// # Errors
/// The first thing that was wrong; what was not is free.
///
/// # Safety
/// As for [`free`], for each frame.
pub(crate) unsafe fn free_bulk(frames: &[FrameNumber]) -> Result<(), FreeError> {
    let guard = IrqGuard::new();
    if is_shut() && !open(&guard) {
        return frames.first().map_or(Ok(()), |frame| Err(FreeError::Barred { frame: *frame }));
    }
    BULK_FREES.add(frames.len() as u64);
    with_magazine(&guard, |shared, magazine| shared.free_bulk(magazine, frames))
}

/// How many frames this CPU keeps from others.
#[cfg(feature = "shell")]
pub(crate) fn kept_by_this_cpu(guard: &IrqGuard) -> usize {
    if is_shut() { 0 } else { with_magazine(guard, |_, magazine| magazine.kept_frames()) }
}

/// Gives all frames that this CPU keeps to the shared layers. A frame among them that was free already is left out;
/// the allocator counts it.
pub fn drain_this_cpu(guard: &IrqGuard) {
    if is_shut() {
        return;
    }
    DRAINS.increment();
    trace!(FrameDrain);
    // What is wrong with a frame here was the fault of whoever freed it, who is long gone.
    let _ = with_magazine(guard, |frames, magazine| frames.drain(magazine));
    fall_asleep(guard);
}
