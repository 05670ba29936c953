//! The frame allocator, as this CPU sees it: through its own magazine, with interrupts off for as long as that takes.

use super::counters::{
    BLOCK_ALLOCS, BLOCK_FREES, BULK_ALLOCS, BULK_FREES, FAILURES, FLUSHES, PLACED_ALLOCS, REFILLS,
    RUN_ALLOCS, RUN_FREES,
};
use super::drain::drain_this_cpu;
#[cfg(feature = "faults")]
use super::fast_path::let_handler_in;
use super::fast_path::{activate, is_inactive, pop, push, with_magazine};
use super::magazine::{CAPACITY, Magazine};
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;
#[cfg(feature = "faults")]
use crate::memory::frames::faults;
use crate::memory::frames::{FrameNumber, FrameRequest, Frames, FreeError, NodeId, Order};
use crate::memory::reclaim::{self, Attempt};
use crate::trace;

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
    if is_inactive() {
        return alloc_with_search(guard, order);
    }
    if let Some(frame) = with_magazine(&guard, |frames, magazine| frames.alloc_cached(magazine, order)) {
        drop(guard);
        return Some(frame);
    }
    alloc_run_from_reserved(guard, order)
}

/// [`alloc_run`] for a run that this CPU does not keep.
#[inline(never)]
fn alloc_run_from_reserved(guard: IrqGuard, order: Order) -> Option<FrameNumber> {
    if let Some(frame) = with_magazine(&guard, |frames, magazine| frames.alloc_from_reserved(magazine, order))
    {
        drop(guard);
        return Some(frame);
    }
    alloc_with_search(guard, order)
}

/// [`alloc`] for orders 9 and above.
#[inline(never)]
fn alloc_blocks(guard: IrqGuard, order: Order) -> Option<FrameNumber> {
    BLOCK_ALLOCS.increment();
    if is_inactive() {
        return alloc_with_search(guard, order);
    }
    let at_hand = with_magazine(&guard, |frames, magazine| {
        frames.alloc_cached(magazine, order).or_else(|| frames.alloc_from_buddy(magazine, order))
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
    if is_inactive() && !activate(&guard) {
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
    let found = if may_wait {
        alloc_slow_path(order, |frames, magazine| frames.alloc(magazine, order))
    } else {
        None
    };
    if found.is_none() {
        count_failure(order);
    }
    found
}

/// As [`alloc`], but never waits.
pub(crate) fn alloc_nowait(order: Order) -> Option<FrameNumber> {
    let guard = IrqGuard::new();
    if !activate(&guard) {
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
    if is_inactive() {
        return free_inactive(guard, frame, order);
    }
    if with_magazine(&guard, |frames, magazine| frames.cache_run(magazine, frame, order)) {
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
    if is_inactive() {
        return free_inactive(guard, frame, order);
    }
    let result = with_magazine(&guard, |frames, magazine| frames.free_blocks(magazine, frame, order));
    drop(guard);
    result
}

/// What [`free`] does with a single frame when the magazine has no room.
#[cold]
#[inline(never)]
fn free_beyond_magazine(guard: IrqGuard, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
    if is_inactive() {
        return free_inactive(guard, frame, order);
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
fn free_inactive(guard: IrqGuard, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
    if !activate(&guard) {
        return Err(FreeError::AllocDisabled { frame });
    }
    with_magazine(&guard, |frames, magazine| frames.free(magazine, frame, order))
}

/// As many single frames as `out` has room for, in one go; how many there were, at its start. Never waits; what other CPUs
/// keep is not asked for.
pub(crate) fn alloc_bulk(out: &mut [FrameNumber]) -> usize {
    let guard = IrqGuard::new();
    if is_inactive() && !activate(&guard) {
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
    if is_inactive() && !activate(&guard) {
        return frames.first().map_or(Ok(()), |frame| Err(FreeError::AllocDisabled { frame: *frame }));
    }
    BULK_FREES.add(frames.len() as u64);
    with_magazine(&guard, |shared, magazine| shared.free_bulk(magazine, frames))
}

/// How many frames this CPU keeps from others.
#[cfg(feature = "shell")]
pub(crate) fn cached_by_this_cpu(guard: &IrqGuard) -> usize {
    if is_inactive() { 0 } else { with_magazine(guard, |_, magazine| magazine.cached_frames()) }
}

/// A naturally aligned run of frames from where the request wants it. With interrupts on: if there is none, the other CPUs
/// are asked for what they keep, which waits for them; `None` then means that no CPU has one to spare. With interrupts off:
/// `None` at once. Not for hot paths: the magazine is passed over, and all of the search is done each time.
pub(crate) fn alloc_in(request: FrameRequest) -> Option<FrameNumber> {
    let guard = IrqGuard::new();
    let may_wait = guard.were_enabled();
    PLACED_ALLOCS.increment();
    let mut found = at_once(guard, request);
    if found.is_none() && may_wait {
        found = alloc_slow_path(request.order, |frames, magazine| frames.alloc_in(magazine, request));
    }
    if found.is_none() {
        count_failure(request.order);
    }
    found
}

/// From what this CPU and the shared layers have.
fn at_once(guard: IrqGuard, request: FrameRequest) -> Option<FrameNumber> {
    if !activate(&guard) {
        return None;
    }
    with_magazine(&guard, |frames, magazine| frames.alloc_in(magazine, request))
}

/// Goes on where a first search has found nothing: see [`reclaim::alloc_slow_path`]. `search` is run with interrupts disabled,
/// after this CPU's cache has been drained.
fn alloc_slow_path(
    order: Order,
    mut search: impl FnMut(&Frames, &Magazine) -> Option<FrameNumber>,
) -> Option<FrameNumber> {
    // What is on its way comes by itself.
    let is_in_flight = |guard: IrqGuard| {
        !is_inactive() && with_magazine(&guard, |_, magazine| magazine.in_flight().is_some())
    };
    reclaim::alloc_slow_path(order, is_in_flight(IrqGuard::new()), || {
        let guard = IrqGuard::new();
        drain_this_cpu(&guard);
        if !activate(&guard) {
            return Attempt::Disabled;
        }
        with_magazine(&guard, |frames, magazine| match search(frames, magazine) {
            Some(frame) => Attempt::Found(frame),
            None => magazine.in_flight().map_or(Attempt::Nothing, Attempt::InFlight),
        })
    })
}

/// Tells this CPU its node: its memory is asked first from now on.
pub(crate) fn set_local_node(guard: &IrqGuard, node: NodeId) {
    // What is set does not depend on whether the CPU may keep anything.
    let _ = activate(guard);
    with_magazine(guard, |_, magazine| magazine.set_local_node(node));
}
