//! This CPU's own magazine: open or shut, used by GS alone where that is all it takes, and seen from afar.

use core::cell::UnsafeCell;
use core::sync::atomic::AtomicU32;

#[cfg(feature = "faults")]
use super::frames::faults;
use super::frames::{Afar, CAPACITY, FrameNumber, Frames, Full, Magazine};
use super::per_cpu_frames::frames;
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::{PerCpu, Words};
use crate::per_cpu;
#[cfg(feature = "faults")]
use crate::sync::Deadline;

per_cpu! {
    static MAGAZINE: UnsafeCell<Magazine> = UnsafeCell::new(Magazine::new());
    /// Whether this CPU may keep frames from others, 1 or 0. It is 0 from when the CPU has given back all, and 1 again before
    /// it keeps the next: whoever finds no frame in the shared layers and then 0 here misses nothing.
    pub static KEEPS_FRAMES: AtomicU32 = AtomicU32::new(1);
}

/// A length by which neither [`pop`] nor [`push`] gets through: what is behind them first says that this CPU
/// [keeps](KEEPS_FRAMES) something.
const ASLEEP: u64 = Magazine::ASLEEP as u64;

/// The same, but there is no way behind them either: [`Bar`].
const BARRED: u64 = ASLEEP + 1;

/// The magazine of the CPU whose area lies that far above the template, for [`Frames::gain`].
///
/// # Safety
/// As for [`PerCpu::of`].
pub unsafe fn magazine_of(gs_base: usize) -> Afar {
    let magazine = <MAGAZINE as PerCpu>::template().wrapping_byte_add(gs_base);
    // SAFETY: there is an area, which lives for good, and every area has a magazine: a cell with nothing else in it. The
    // words of a magazine are written by its CPU's own instructions, each of which writes a whole word.
    unsafe { Afar::new(magazine.cast()) }
}

/// With the magazine open: what is not [`is_shut`].
#[inline(always)]
pub(super) fn with_magazine<R>(guard: &IrqGuard, f: impl FnOnce(&Frames, &mut Magazine) -> R) -> R {
    let frames = frames();
    MAGAZINE.with(guard, |magazine| {
        // SAFETY: this CPU's own magazine; the guard keeps handlers out, those that it cannot keep out are barred, and `f`
        // (all of them are in `memory`) does not come back here.
        f(frames, unsafe { &mut *magazine.get() })
    })
}

/// Whether the magazine's length is none, but [`ASLEEP`] or [`BARRED`]. Whoever uses the magazine asks this first, and goes
/// by way of [`open`]: by a jump, so that the way past it saves no register.
#[inline(always)]
pub(super) fn is_shut() -> bool {
    MAGAZINE::load_64() > CAPACITY as u64
}

/// This CPU is about to keep something; whether it may.
#[cold]
#[inline(never)]
pub(super) fn open(_: &IrqGuard) -> bool {
    if MAGAZINE::load_64() == BARRED {
        return false;
    }
    if is_shut() {
        // Before the frames leave the shared layers, which takes a locked instruction.
        KEEPS_FRAMES.set(1);
        MAGAZINE::store_64(0);
    }
    true
}

/// The magazine is empty and shut, and the CPU keeps nothing from others.
pub(super) fn fall_asleep(_: &IrqGuard) {
    MAGAZINE::store_64(ASLEEP);
    KEEPS_FRAMES.set(0);
}

/// While it lives, the allocator refuses whatever is asked of it on this CPU: `None`,
/// [`Barred`](super::frames::FreeError::Barred). For handlers that come although interrupts are off, and so perhaps in the
/// middle of a call; [`interrupts`](crate::interrupts) sees to it. They nest.
pub struct Bar {
    len: u64,
}

impl Bar {
    /// Bars this CPU, on which it must be dropped as well.
    #[expect(clippy::new_without_default, reason = "nothing is barred by default")]
    pub fn new() -> Bar {
        let len = MAGAZINE::load_64();
        #[cfg(feature = "faults")]
        if faults::is_armed(faults::Fault::AllowInNmi) {
            return Bar { len };
        }
        MAGAZINE::store_64(BARRED);
        Bar { len }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        // What was interrupted finds the word as it left it.
        MAGAZINE::store_64(self.len);
    }
}

/// [`Magazine::pop`] on this CPU's own, by GS alone: its address is never formed.
#[inline(always)]
pub(super) fn pop(_: &IrqGuard) -> Option<FrameNumber> {
    let last = (MAGAZINE::load_64() as usize).wrapping_sub(1);
    if last >= CAPACITY {
        return None;
    }
    // SAFETY: `last` is below the capacity; the guard and this module keep everybody else out, as in `with_magazine`.
    let frame = unsafe { MAGAZINE::load_word::<{ Magazine::FRAMES_AT }>(last) };
    MAGAZINE::store_64(last as u64);
    Some(FrameNumber::new(frame as usize))
}

/// [`Magazine::push`], likewise.
#[inline(always)]
pub(super) fn push(_: &IrqGuard, frame: FrameNumber) -> Result<(), Full> {
    let len = MAGAZINE::load_64() as usize;
    if len >= CAPACITY {
        return Err(Full);
    }
    // SAFETY: as in `pop`; any number is a frame's.
    unsafe { MAGAZINE::store_word::<{ Magazine::FRAMES_AT }>(len, frame.get() as u64) };
    MAGAZINE::store_64(len as u64 + 1);
    Ok(())
}

const _: () = assert!(Magazine::LEN_AT == 0, "`pop` and `push` take the first word for the length");

/// The fault of a refill that believes the length which it has read before an interrupt came.
#[cfg(feature = "faults")]
pub(super) fn let_handler_in(guard: &mut IrqGuard) {
    if faults::is_armed(faults::Fault::LetHandlerIn) && guard.were_enabled() {
        let len = MAGAZINE::load_64();
        guard.window(|| Deadline::after_us(200).wait());
        MAGAZINE::store_64(len);
    }
}
