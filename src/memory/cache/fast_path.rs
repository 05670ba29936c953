//! This CPU's own magazine: open or shut, used by GS alone where that is all it takes, and seen from afar.

use core::sync::atomic::AtomicU32;

use super::magazine::{CAPACITY, Full, Magazine};
use super::remote::RemoteMagazine;
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::{PerCpu, RawAccess, Words};
#[cfg(feature = "faults")]
use crate::memory::frames::faults;
use crate::memory::frames::global::frames;
use crate::memory::frames::{FrameNumber, Frames};
use crate::per_cpu;
#[cfg(feature = "faults")]
use crate::sync::Deadline;

per_cpu! {
    static MAGAZINE: Magazine = Magazine::new();
    /// Whether this CPU may keep frames from others, 1 or 0. It is 0 from when the CPU has given back all, and 1 again before
    /// it keeps the next: whoever finds no frame in the shared layers and then 0 here misses nothing.
    pub static CACHE_NONEMPTY: AtomicU32 = AtomicU32::new(1);
}

/// A length by which neither [`pop`] nor [`push`] gets through: what is behind them first says that this CPU
/// [keeps](CACHE_NONEMPTY) something.
const INACTIVE: u64 = Magazine::INACTIVE as u64;

/// A length by which neither gets through, and every function refuses: [`with_alloc_disabled`].
const DISABLED: u64 = INACTIVE + 1;

/// The magazine of the CPU whose area lies that far above the template, for [`Frames::estimate_reclaimable`].
///
/// # Safety
/// As for [`PerCpu::of`].
pub unsafe fn magazine_of(gs_base: usize) -> RemoteMagazine {
    let magazine = <MAGAZINE as PerCpu>::template().wrapping_byte_add(gs_base);
    // SAFETY: there is an area (see # Safety), which is never freed, and every area has a magazine (I3). It is borrowed by `&`
    // alone, in this module.
    unsafe { RemoteMagazine::new(magazine) }
}

/// With the magazine open: what is not [`is_inactive`].
#[inline(always)]
pub(super) fn with_magazine<R>(guard: &IrqGuard, f: impl FnOnce(&Frames, &Magazine) -> R) -> R {
    let frames = frames();
    MAGAZINE.with(guard, |magazine| f(frames, magazine))
}

/// The magazine's length, or one of the two words in its place.
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

/// Whether the magazine's length is none, but [`INACTIVE`] or [`DISABLED`]. Whoever uses the magazine asks this first, and goes
/// by way of [`activate`]: by a jump, so that the way past it saves no register.
#[inline(always)]
pub(super) fn is_inactive() -> bool {
    len() > CAPACITY as u64
}

/// This CPU is about to keep something; whether it may.
#[cold]
#[inline(never)]
pub(super) fn activate(guard: &IrqGuard) -> bool {
    if len() == DISABLED {
        return false;
    }
    if is_inactive() {
        // Before the frames leave the shared layers, which takes a locked instruction.
        CACHE_NONEMPTY.set(1);
        set_len(guard, 0);
    }
    true
}

/// The magazine is empty and shut, and the CPU keeps nothing from others.
pub(super) fn deactivate(guard: &IrqGuard) {
    set_len(guard, INACTIVE);
    CACHE_NONEMPTY.set(0);
}

/// Puts this CPU's magazine, which is empty, into the state of one that has never been used: what INIT has ended may have left
/// the allocator disabled ([`with_alloc_disabled`]).
///
/// **Context:** bring-up, before this CPU has allocated anything or after it has been drained; interrupts off.
pub(crate) fn reset_cache(guard: &IrqGuard) {
    deactivate(guard);
}

/// Runs `f` with the allocator disabled on this CPU: every request is refused by `None` or
/// [`AllocDisabled`](crate::memory::frames::FreeError::AllocDisabled). For handlers that are not kept out by a guard (NMI, #MC, #DB, #DF) and so
/// may have interrupted the allocator anywhere; [`interrupts`](crate::interrupts) runs them in this. Calls nest.
///
/// There is no value that could be dropped late, on another CPU or out of order: what was interrupted finds the length as it
/// left it when this returns, and `f` cannot change it.
#[inline]
pub(crate) fn with_alloc_disabled<R>(guard: &IrqGuard, f: impl FnOnce() -> R) -> R {
    let interrupted = len();
    #[cfg(feature = "faults")]
    if faults::is_armed(faults::Fault::AllowInNmi) {
        return f();
    }
    set_len(guard, DISABLED);
    let result = f();
    set_len(guard, interrupted);
    result
}

/// [`Magazine::pop`] on this CPU's own, by GS alone: its address is never formed.
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

/// [`Magazine::push`], likewise.
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

/// The fault of a refill that believes the length which it has read before an interrupt came.
#[cfg(feature = "faults")]
pub(super) fn let_handler_in(guard: &mut IrqGuard) {
    if faults::is_armed(faults::Fault::LetHandlerIn) && guard.were_enabled() {
        let len = len();
        guard.window(|| Deadline::after_us(200).wait());
        set_len(guard, len);
    }
}
