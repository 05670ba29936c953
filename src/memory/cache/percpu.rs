//! Allocation and free on this CPU: through its magazine, with interrupts disabled meanwhile.
//!
//! Each function that is seldom needed is a function of its own (`#[inline(never)]`), so that the paths before it save no registers.
//! Each takes the guard, so that the fast path has a single end.

use super::counters::{
    BLOCK_ALLOCS, BLOCK_FREES, BULK_ALLOCS, BULK_FREES, FAILURES, FLUSHES, PLACED_ALLOCS, REFILLS,
    RUN_ALLOCS, RUN_FREES,
};
use super::drain::drain_frames;
#[cfg(feature = "faults")]
use super::fast_path::enable_irqs_in_refill;
use super::fast_path::{
    activate, has_run, is_alloc_disabled, is_inactive, pop, push, put_run, take_run, with_magazine,
};
use super::magazine::{CAPACITY, Magazine};
use super::readiness::{Readiness, prepare};
use super::shortage;
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;
#[cfg(feature = "faults")]
use crate::memory::frames::faults;
use crate::memory::frames::global::frames;
use crate::memory::frames::search::Extent;
use crate::memory::frames::{FrameNumber, FrameRequest, Frames, FreeError, NodeId, Order, Stolen};
use crate::memory::heap_slot;
use crate::memory::reclaim::{self, Attempt};
use crate::trace;

/// Allocates `2^order` naturally aligned frames; the number of the first. The caller owns them from then on.
///
/// `None` if there are none. With interrupts enabled, that means that no CPU caches any, either: it makes the other CPUs drain their
/// caches and waits for them. With interrupts disabled it does not wait.
///
/// **Context:** thread or interrupt context. In an NMI handler it returns `None`.
#[inline(always)]
pub(crate) fn alloc(order: Order) -> Option<FrameNumber> {
    let guard = IrqGuard::new();
    // This reads and writes the magazine alone, and the state word of a run of whole blocks.
    let at_hand = if order == Order::FRAME { pop(&guard) } else { take_run(&guard, order) };
    if let Some(frame) = at_hand {
        count_alloc(order);
        drop(guard);
        return Some(frame);
    }
    // Most callers pass a constant order: then the compiler keeps one of these.
    let beyond = match order {
        Order::FRAME => alloc_with_search,
        order if order < Order::BLOCK => alloc_run_from_reserved,
        _ => alloc_blocks,
    };
    // Checked here: so the fast path has a single end, and callers do not check its result again.
    let frame = beyond(guard, order)?;
    Some(frame)
}

/// Counts an allocation. Single frames that the magazine serves are not counted.
#[inline(always)]
fn count_alloc(order: Order) {
    match order {
        Order::FRAME => {}
        order if order < Order::BLOCK => RUN_ALLOCS.increment(),
        _ => BLOCK_ALLOCS.increment(),
    }
}

/// Counts a free, as [`count_alloc`].
#[inline(always)]
fn count_free(order: Order) {
    match order {
        Order::FRAME => {}
        order if order < Order::BLOCK => RUN_FREES.increment(),
        _ => BLOCK_FREES.increment(),
    }
}

/// [`alloc`] for orders 1 to 8 of which this CPU caches no run.
#[inline(never)]
fn alloc_run_from_reserved(guard: IrqGuard, order: Order) -> Option<FrameNumber> {
    count_alloc(order);
    if is_inactive() {
        return alloc_with_search(guard, order);
    }
    if let Some(frame) = with_magazine(&guard, |frames, magazine| frames.alloc_from_reserved(magazine, order))
    {
        drop(guard);
        return Some(frame);
    }
    alloc_with_search(guard, order)
}

/// [`alloc`] for orders 9 and above of which this CPU caches no run.
#[inline(never)]
fn alloc_blocks(guard: IrqGuard, order: Order) -> Option<FrameNumber> {
    count_alloc(order);
    if is_inactive() {
        return alloc_inactive(guard, order);
    }
    let found = with_magazine(&guard, |frames, magazine| frames.alloc_from_buddy(magazine, order));
    if let Some(frame) = found {
        drop(guard);
        return Some(frame);
    }
    alloc_with_search(guard, order)
}

/// [`alloc`] while the cache is inactive, for orders 9 and above.
#[cold]
#[inline(never)]
fn alloc_inactive(guard: IrqGuard, order: Order) -> Option<FrameNumber> {
    let readiness = prepare(&guard);
    if readiness == Readiness::Active {
        let found = with_magazine(&guard, |frames, magazine| frames.alloc_from_buddy(magazine, order));
        if found.is_some() {
            return found;
        }
    }
    search_or_wait(guard, order, readiness)
}

/// [`alloc`] after the magazine and the reserved block could not serve it.
#[cold]
#[inline(never)]
fn alloc_with_search(guard: IrqGuard, order: Order) -> Option<FrameNumber> {
    let readiness = prepare(&guard);
    search_or_wait(guard, order, readiness)
}

/// [`alloc_with_search`], with the cache as it was found.
#[inline(always)]
fn search_or_wait(
    #[allow(unused_mut)] mut guard: IrqGuard,
    order: Order,
    readiness: Readiness,
) -> Option<FrameNumber> {
    let may_wait = guard.were_enabled();
    #[cfg(feature = "faults")]
    let may_wait = may_wait || faults::is_armed(faults::FrameFault::BlockInIrq);
    let found = match readiness {
        Readiness::Disabled => return None,
        Readiness::Bypass => {
            with_magazine(&guard, |frames, magazine| alloc_past_cache(frames, magazine, order))
        }
        Readiness::Active => {
            #[cfg(feature = "faults")]
            enable_irqs_in_refill(&mut guard);
            if order == Order::FRAME {
                REFILLS.increment();
            }
            // `alloc_blocks` has tried the buddies.
            let search = if order < Order::BLOCK { alloc_or_steal } else { steal_or_search };
            with_magazine(&guard, |frames, magazine| search(frames, magazine, order))
        }
    };
    if let Some(frame) = found {
        trace!(FrameRefill, order.get().into(), frame.get() as u64);
        return Some(frame);
    }
    drop(guard);
    let found = if may_wait {
        alloc_slow_path(order, |frames, magazine| alloc_past_cache(frames, magazine, order))
    } else {
        None
    };
    if found.is_none() {
        count_failure(order);
    }
    found
}

/// Allocates as [`alloc`] does, and never waits for other CPUs.
///
/// **Context:** thread or interrupt context. In an NMI handler it returns `None`.
pub(crate) fn alloc_nowait(order: Order) -> Option<FrameNumber> {
    let guard = IrqGuard::new();
    let found = match prepare(&guard) {
        Readiness::Disabled => return None,
        Readiness::Bypass => {
            with_magazine(&guard, |frames, magazine| alloc_past_cache(frames, magazine, order))
        }
        Readiness::Active => {
            with_magazine(&guard, |frames, magazine| alloc_or_steal(frames, magazine, order))
        }
    };
    if found.is_none() {
        count_failure(order);
    }
    found
}

/// Allocates contiguous frames if some are at hand or in a block that is probably free. It neither waits nor counts a failure: the
/// caller takes single frames then.
///
/// **Context:** thread or interrupt context. In an NMI handler it returns `None`.
pub(crate) fn alloc_run_at_hand(order: Order) -> Option<FrameNumber> {
    let guard = IrqGuard::new();
    let readiness = prepare(&guard);
    let found = with_magazine(&guard, |frames, magazine| match readiness {
        Readiness::Active => {
            let at_hand = frames.alloc_cached(magazine, order);
            let reserved = at_hand.or_else(|| frames.alloc_from_reserved(magazine, order));
            reserved.or_else(|| frames.alloc_marked(magazine, order))
        }
        Readiness::Bypass => frames.alloc_uncached(magazine, order, Extent::Marked),
        Readiness::Disabled => None,
    })?;
    count_alloc(order);
    Some(found)
}

/// Allocates past the cache, which is inactive. As [`alloc_or_steal`], it searches everywhere last.
fn alloc_past_cache(frames: &Frames, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
    let marked = frames.alloc_uncached(magazine, order, Extent::Marked);
    marked.or_else(|| match reclaim::steal_blocks(order) {
        Stolen::Run(run) => Some(run),
        Stolen::Nothing | Stolen::Freed => frames.alloc_uncached(magazine, order, Extent::All),
    })
}

/// Searches the blocks that are probably free; then takes blocks that another CPU caches; then searches everywhere.
fn alloc_or_steal(frames: &Frames, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
    frames.alloc_marked(magazine, order).or_else(|| steal_or_search(frames, magazine, order))
}

/// [`alloc_or_steal`] after its first search.
fn steal_or_search(frames: &Frames, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
    let found = match reclaim::steal_blocks(order) {
        Stolen::Nothing => None,
        Stolen::Freed => frames.alloc_marked(magazine, order),
        Stolen::Run(run) => Some(run),
    };
    found.or_else(|| frames.alloc(magazine, order))
}

/// Counts a failed allocation.
#[cold]
pub(super) fn count_failure(order: Order) {
    FAILURES.increment();
    trace!(OutOfMemory, order.get().into());
}

/// Frees `2^order` frames, on any CPU. It waits for nothing but the lock of a zone.
///
/// **Context:** thread or interrupt context. In an NMI handler it fails with [`FreeError::AllocDisabled`].
///
/// # Errors
/// [`FreeError`], as far as the allocator can tell; the frames stay as they are. In release builds the error of a single frame may
/// come from a later call, which names that frame.
///
/// # Safety
/// The caller owns the frames: each was allocated and has not been freed since, and nothing uses their memory any more. The
/// orders of their allocations do not matter: frames that cannot be freed in one call are refused as `WrongOrder`. A free that the
/// allocator is certain to refuse (of frames that are not allocated) is no violation.
#[inline(always)]
pub(crate) unsafe fn free(frame: FrameNumber, order: Order) -> Result<(), FreeError> {
    let guard = IrqGuard::new();
    if order != Order::FRAME && !frame.is_aligned_to(order) {
        return free_inactive(guard, frame, order);
    }
    let is_cached = !Frames::CHECKS_EACH_FREE
        && if order == Order::FRAME { push(&guard, frame).is_ok() } else { put_run(&guard, frame, order) };
    if is_cached {
        count_free(order);
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

/// [`free`] of an aligned run of orders 1 to 8 that is not cached, or is wrong.
#[inline(never)]
fn free_run(guard: IrqGuard, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
    RUN_FREES.increment();
    if is_inactive() {
        return free_inactive(guard, frame, order);
    }
    let result = if Frames::CHECKS_EACH_FREE || has_run(&guard, frame, order) {
        with_magazine(&guard, |frames, magazine| frames.free_run(magazine, frame, order))
    } else {
        frames().return_run(frame, order)
    };
    drop(guard);
    result
}

/// [`free`] of a run of orders 9 and above that is not cached, or is wrong.
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

/// [`free`] of a single frame when the magazine is full.
#[cold]
#[inline(never)]
fn free_beyond_magazine(guard: IrqGuard, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
    if is_inactive() || shortage::is_new(&guard) {
        return free_inactive(guard, frame, order);
    }
    with_magazine(&guard, |frames, magazine| {
        // Debug builds come here with every frame.
        if !Frames::CHECKS_EACH_FREE || magazine.len() == CAPACITY {
            FLUSHES.increment();
        }
        frames.free(magazine, frame, order)
    })
}

/// [`free`] while the cache is inactive, or of a run that is not aligned.
#[cold]
#[inline(never)]
fn free_inactive(guard: IrqGuard, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
    match prepare(&guard) {
        Readiness::Active => with_magazine(&guard, |frames, magazine| frames.free(magazine, frame, order)),
        Readiness::Bypass => frames().free_uncached(frame, order),
        Readiness::Disabled => Err(FreeError::AllocDisabled { frame }),
    }
}

/// Allocates up to `out.len()` single frames, and writes their numbers to the start of `out`; how many. It never waits for other
/// CPUs.
///
/// **Context:** thread or interrupt context. Interrupts are disabled for a time that grows with the number of frames.
pub(crate) fn alloc_bulk(out: &mut [FrameNumber]) -> usize {
    let guard = IrqGuard::new();
    let readiness = prepare(&guard);
    let taken = with_magazine(&guard, |frames, magazine| match readiness {
        Readiness::Active => frames.alloc_bulk(magazine, out),
        Readiness::Bypass => frames.alloc_bulk_uncached(magazine, out),
        Readiness::Disabled => 0,
    });
    BULK_ALLOCS.add(taken as u64);
    taken
}

/// Frees single frames, on any CPU.
///
/// **Context:** thread or interrupt context. Interrupts are disabled for a time that grows with the number of frames.
///
/// # Errors
/// The first error. All frames without an error are free.
///
/// # Safety
/// As for [`free`], for each frame.
pub(crate) unsafe fn free_bulk(frames: &[FrameNumber]) -> Result<(), FreeError> {
    let guard = IrqGuard::new();
    let readiness = prepare(&guard);
    if readiness == Readiness::Disabled {
        return frames.first().map_or(Ok(()), |frame| Err(FreeError::AllocDisabled { frame: *frame }));
    }
    BULK_FREES.add(frames.len() as u64);
    with_magazine(&guard, |shared, magazine| {
        if readiness == Readiness::Active {
            shared.free_bulk(magazine, frames)
        } else {
            shared.return_singles(frames)
        }
    })
}

/// How many frames this CPU caches.
///
/// **Context:** any but NMI, interrupts disabled.
#[cfg(feature = "shell")]
pub(crate) fn cached_by_this_cpu(guard: &IrqGuard) -> usize {
    if is_inactive() { 0 } else { with_magazine(guard, |_, magazine| magazine.cached_frames()) }
}

/// Allocates as [`alloc`] does, from the zone type and the nodes of the request. It bypasses the magazine and searches the shared
/// allocator each time: not for hot paths.
///
/// **Context:** as for [`alloc`].
pub(crate) fn alloc_in(request: FrameRequest) -> Option<FrameNumber> {
    let guard = IrqGuard::new();
    let may_wait = guard.were_enabled();
    PLACED_ALLOCS.increment();
    let mut found = at_once(guard, request);
    if found.is_none() && may_wait {
        found = alloc_slow_path(request.order, |frames, magazine| frames.find_in(magazine, request));
    }
    if found.is_none() {
        count_failure(request.order);
    }
    found
}

/// [`alloc_in`] without waiting.
fn at_once(guard: IrqGuard, request: FrameRequest) -> Option<FrameNumber> {
    let readiness = prepare(&guard);
    with_magazine(&guard, |frames, magazine| match readiness {
        Readiness::Active => frames.alloc_in(magazine, request),
        Readiness::Bypass => frames.find_in(magazine, request),
        Readiness::Disabled => None,
    })
}

/// Allocates after a first search has failed: see [`reclaim::alloc_slow_path`]. Each `search` runs with interrupts disabled, after
/// this CPU's cache has been drained.
fn alloc_slow_path(
    order: Order,
    mut search: impl FnMut(&Frames, &Magazine) -> Option<FrameNumber>,
) -> Option<FrameNumber> {
    // Frames in flight become free without a request to another CPU.
    let is_in_flight = |guard: IrqGuard| {
        !is_alloc_disabled() && with_magazine(&guard, |_, magazine| magazine.in_flight().is_some())
    };
    let mut search_all = || {
        reclaim::alloc_slow_path(order, is_in_flight(IrqGuard::new()), || {
            let guard = IrqGuard::new();
            if is_alloc_disabled() {
                return Attempt::Disabled;
            }
            drain_frames(&guard);
            shortage::learn(&guard);
            with_magazine(&guard, |frames, magazine| match search(frames, magazine) {
                Some(frame) => Attempt::Found(frame),
                None => magazine.in_flight().map_or(Attempt::Nothing, Attempt::InFlight),
            })
        })
    };
    shortage::prolong();
    // What the heap has cached is returned only if nothing else is left: objects are worth more than frames.
    // Twice: the first round may be one that began before, and has passed CPUs that have cached objects since.
    for _ in 0..2 {
        let ended = heap_slot::HEAP_RECLAIM.ended();
        if let Some(frame) = search_all() {
            return Some(frame);
        }
        if !heap_slot::reclaim_heap(ended) {
            return None;
        }
    }
    search_all()
}

/// The node of this CPU, as [`set_local_node`] has set it.
///
/// **Context:** any but NMI, interrupts disabled.
pub(crate) fn local_node(guard: &IrqGuard) -> usize {
    with_magazine(guard, |_, magazine| usize::from(magazine.local_node().0))
}

/// Sets the node of this CPU. Its allocations use that node's zones first from then on.
///
/// **Context:** bring-up of this CPU, interrupts disabled.
pub(crate) fn set_local_node(guard: &IrqGuard, node: NodeId) {
    // The node can be set while the allocator is disabled.
    let _ = activate(guard);
    with_magazine(guard, |_, magazine| magazine.set_local_node(node));
}
