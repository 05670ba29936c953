//! This CPU's magazine, reached through GS: `pop` and `push` in a few instructions, and the state of the cache.
//!
//! The state is in the word of the magazine's length: a length; `INACTIVE`, after a drain; or `DISABLED`, in handlers that may have
//! interrupted the allocator. Both are larger than any length, so that the bounds checks of `pop` and `push` fail.

use core::sync::atomic::AtomicU32;

use super::magazine::{CAPACITY, Full, Magazine};
use super::remote::RemoteMagazine;
use super::run_cache::NONE;
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::{PerCpu, RawAccess, RawArrayAccess};
use crate::memory::frames::bitmap::WORD_BITS;
#[cfg(feature = "faults")]
use crate::memory::frames::faults;
use crate::memory::frames::global::frames;
use crate::memory::frames::hint::ReservedBlock;
use crate::memory::frames::number::BlockNumber;
use crate::memory::frames::{FrameNumber, Frames, Order};
use crate::memory::heap_slot;
use crate::per_cpu;
#[cfg(feature = "faults")]
use crate::sync::Deadline;

per_cpu! {
    static MAGAZINE: Magazine = Magazine::new();
    /// Whether this CPU may cache frames, 1 or 0. It becomes 0 after a drain, and 1 before the CPU caches the next frame: a CPU that
    /// finds no free frame in the shared allocator, and then 0 here, has missed none.
    pub(crate) static CACHE_NONEMPTY: AtomicU32 = AtomicU32::new(1);
}

/// The magazine is empty, and [`CACHE_NONEMPTY`] is 0. [`activate`] ends this state before the cache is used.
const INACTIVE: u64 = Magazine::INACTIVE as u64;

/// The allocator is disabled on this CPU, by [`with_alloc_disabled`].
const DISABLED: u64 = INACTIVE + 1;

/// The magazine of the CPU with this GS base, for [`Frames::estimate_reclaimable`].
///
/// # Safety
/// As for [`PerCpu::of`].
pub(crate) unsafe fn magazine_of(gs_base: usize) -> RemoteMagazine {
    let magazine = <MAGAZINE as PerCpu>::template().wrapping_byte_add(gs_base);
    // SAFETY: there is an area (see # Safety), which is never freed, and every area has a magazine (I3). It is borrowed by `&`
    // alone, in this module.
    unsafe { RemoteMagazine::new(magazine) }
}

/// Calls `f` with the shared allocator and this CPU's magazine. Where the cache is not active, `f` does not use what it caches.
#[inline(always)]
pub(super) fn with_magazine<R>(guard: &IrqGuard, f: impl FnOnce(&Frames, &Magazine) -> R) -> R {
    let frames = frames();
    MAGAZINE.with(guard, |magazine| f(frames, magazine))
}

/// The magazine's length, or [`INACTIVE`] or [`DISABLED`].
#[inline(always)]
fn len() -> u64 {
    // SAFETY: the first word of `MAGAZINE` is the length, an atomic (asserted below).
    unsafe { MAGAZINE::load_64() }
}

/// Sets what [`len`] returns.
#[inline(always)]
fn set_len(_: &IrqGuard, len: u64) {
    // SAFETY: the first word of `MAGAZINE` is the length, an atomic (asserted below), in which every number is valid.
    unsafe { MAGAZINE::store_64(len) };
}

const _: () = assert!(Magazine::LEN_AT == 0, "the length is the magazine's first word");

/// Whether the cache is [`INACTIVE`] or [`DISABLED`]. Every use of the magazine checks this first, and calls [`activate`] on a path
/// of its own, so that the fast path saves no registers.
#[inline(always)]
pub(super) fn is_inactive() -> bool {
    len() > CAPACITY as u64
}

/// Makes the cache active, if the allocator is not disabled on this CPU; whether it is active.
#[cold]
#[inline(never)]
pub(super) fn activate(guard: &IrqGuard) -> bool {
    if len() == DISABLED {
        return false;
    }
    if is_inactive() {
        // Visible before a frame leaves the shared allocator, because that takes a locked instruction.
        CACHE_NONEMPTY.set(1);
        set_len(guard, 0);
    }
    true
}

/// Makes the cache inactive. The magazine is empty.
pub(super) fn deactivate(guard: &IrqGuard) {
    set_len(guard, INACTIVE);
    CACHE_NONEMPTY.set(0);
}

/// Makes this CPU's empty cache inactive, as before its first use. INIT may have interrupted [`with_alloc_disabled`], so that the
/// allocator was still disabled.
///
/// **Context:** bring-up, before this CPU has allocated anything or after it has been drained; interrupts off.
pub(crate) fn reset_cache(guard: &IrqGuard) {
    deactivate(guard);
    heap_slot::clear_heap_cache(guard);
}

/// Whether the allocator is disabled on this CPU, by [`with_alloc_disabled`].
pub(crate) fn is_alloc_disabled() -> bool {
    len() == DISABLED
}

/// Runs `f` with the allocator and the heap disabled on this CPU: an allocation returns `None`, a free
/// [`AllocDisabled`](crate::memory::frames::FreeError::AllocDisabled). [`interrupts`](crate::interrupts) runs the handlers in it
/// that a guard does not exclude (NMI, #MC, #DB, #DF): they may have interrupted the allocator at any instruction. Calls nest.
///
/// It is a function with a closure, not a guard: a guard could be dropped late, on another CPU, or out of order. The interrupted
/// code finds the length that it has written, because `f` cannot change it.
///
/// **Context:** any, interrupts disabled.
#[inline]
pub(crate) fn with_alloc_disabled<R>(guard: &IrqGuard, f: impl FnOnce() -> R) -> R {
    let interrupted = len();
    #[cfg(feature = "faults")]
    if faults::is_armed(faults::FrameFault::AllowAllocInNmi) {
        return f();
    }
    let interrupted_heap = heap_slot::heap_cache();
    set_len(guard, DISABLED);
    heap_slot::clear_heap_cache(guard);
    let result = f();
    // SAFETY: it was set before `f`, which cannot change it.
    unsafe { heap_slot::set_heap_cache(guard, interrupted_heap) };
    set_len(guard, interrupted);
    result
}

/// [`Magazine::pop`] of this CPU's magazine, through GS: its address is never computed.
#[inline(always)]
pub(super) fn pop(guard: &IrqGuard) -> Option<FrameNumber> {
    let last = (len() as usize).wrapping_sub(1);
    if last >= CAPACITY {
        return None;
    }
    // SAFETY: `last` is below the capacity, and the word an atomic.
    let frame = unsafe { MAGAZINE::load_word::<{ Magazine::FRAMES_AT }>(last) };
    set_len(guard, last as u64);
    Some(FrameNumber::new(frame as usize))
}

/// [`Magazine::push`] to this CPU's magazine, through GS.
///
/// # Errors
/// [`Full`] if there is no room, or the cache is not active.
#[inline(always)]
pub(super) fn push(guard: &IrqGuard, frame: FrameNumber) -> Result<(), Full> {
    let len = len() as usize;
    if len >= CAPACITY {
        return Err(Full);
    }
    // SAFETY: `len` is below the capacity, and the word an atomic, in which every number is valid.
    unsafe { MAGAZINE::store_word::<{ Magazine::FRAMES_AT }>(len, frame.get() as u64) };
    set_len(guard, len as u64 + 1);
    Ok(())
}

/// Takes the run of this order, 1 or above, from this CPU's run cache, through GS. `None` if there is none, or the cache is
/// not active.
#[inline(always)]
pub(super) fn take_run(_: &IrqGuard, order: Order) -> Option<FrameNumber> {
    if is_inactive() || order == Order::FRAME {
        return None;
    }
    let index = usize::from(order.get()) - 1;
    // SAFETY: the order is not 0, and each order above is cached, so the index is below their number. The word is an atomic.
    let run = FrameNumber::new(unsafe { MAGAZINE::load_word::<{ Magazine::RUNS_AT }>(index) } as usize);
    if run == NONE {
        return None;
    }
    // SAFETY: `index` is that of a cached order, which the first check of this function ensures. The word is an atomic, in
    // which every number is valid.
    unsafe { MAGAZINE::store_word::<{ Magazine::RUNS_AT }>(index, NONE.get() as u64) };
    // Of a run of whole blocks the state word decides: another CPU may have taken it.
    (order < Order::BLOCK || frames().uncache_blocks(run.block(), order)).then_some(run)
}

/// Puts an allocated run of this order, 1 or above, into this CPU's run cache, through GS; whether it has. It has not if the
/// cache has a run of this order or is not active, or if there is no such allocation. The caller has checked the alignment.
#[inline(always)]
pub(super) fn put_run(_: &IrqGuard, run: FrameNumber, order: Order) -> bool {
    if is_inactive() || order == Order::FRAME {
        return false;
    }
    let index = usize::from(order.get()) - 1;
    // SAFETY: the order is not 0, and each order above is cached, so the index is below their number. The word is an atomic.
    if unsafe { MAGAZINE::load_word::<{ Magazine::RUNS_AT }>(index) } != NONE.get() as u64 {
        return false;
    }
    let is_cached = if order < Order::BLOCK {
        is_reserved(run.block(), order) && frames().is_in_use(run, order, order.frames().div_ceil(WORD_BITS))
    } else {
        frames().cache_blocks(run.block(), order)
    };
    if is_cached {
        // SAFETY: `index` is that of a cached order, which the first check of this function ensures. The word is an atomic, in
        // which every number is valid.
        unsafe { MAGAZINE::store_word::<{ Magazine::RUNS_AT }>(index, run.get() as u64) };
    }
    is_cached
}

/// Whether this very run of an order, 1 to 8, is in this CPU's run cache, which is active.
#[inline(always)]
pub(super) fn has_run(_: &IrqGuard, run: FrameNumber, order: Order) -> bool {
    if order == Order::FRAME {
        return false;
    }
    let index = usize::from(order.get()) - 1;
    // SAFETY: the order is not 0, and each order above is cached, so the index is below their number. The word is an atomic.
    unsafe { MAGAZINE::load_word::<{ Magazine::RUNS_AT }>(index) == run.get() as u64 }
}

/// Whether this CPU has reserved this block for this order, which is below 9.
#[inline(always)]
fn is_reserved(block: BlockNumber, order: Order) -> bool {
    let index = usize::from(order.get()) * (size_of::<ReservedBlock>() / 8);
    // SAFETY: the order is below 9, which the caller has checked, and each has a reserved block. Its first word is an atomic (`repr(C)`).
    let reserved = unsafe { MAGAZINE::load_word::<{ Magazine::RESERVED_AT }>(index) };
    reserved == block.0 as u64
}

/// Fault injection: a refill that uses the length that it has read before an interrupt.
#[cfg(feature = "faults")]
pub(super) fn enable_irqs_in_refill(guard: &mut IrqGuard) {
    if faults::is_armed(faults::FrameFault::EnableIrqsInRefill) && guard.were_enabled() {
        let len = len();
        guard.window(|| Deadline::after_us(200).wait());
        set_len(guard, len);
    }
}
