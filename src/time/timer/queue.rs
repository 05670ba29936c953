//! A CPU's timers, and the APIC timer that is set for the first of them.

use core::mem::MaybeUninit;

use super::super::calibration::AlarmScale;
use super::super::heap::{Due, Heap, NEVER_NS, Place, Slot, Storage};
use super::super::now::now_ns;
use super::{Callback, Expiry, INLINE};
use crate::apic::{self, TimerMode};
use crate::cpu::IrqGuard;
use crate::cpu::registers::read_tsc;
use crate::memory::FrameRange;
use crate::sync::SpinLockIrq;
use crate::wire::Bucket;

/// The queue's storage shrinks when so few timers are left: well below [`INLINE`], so that it does not come and go.
pub const FEW: usize = INLINE / 4;

/// No deadline is earlier.
pub const EXPIRING: u64 = 0;

/// No deadline at all.
pub const NEVER: u64 = NEVER_NS;

#[derive(Clone, Copy)]
pub struct Timer {
    pub callback: Callback,
    pub data: usize,
    /// 0 for one that expires once.
    pub period_ns: u64,
}

/// Timers that are less late than 2 to this power, in nanoseconds, are all in one bucket.
const FINEST_POWER: u32 = 10;

/// How late timers were, by powers of two. A place for each bit of a number, so that none is out of bounds; the first few
/// stay empty.
#[derive(Clone, Copy)]
pub struct Lateness([u64; u64::BITS as usize]);

impl Lateness {
    pub const NONE: Lateness = Lateness([0; u64::BITS as usize]);

    /// Part of the interrupt's path, of which each instruction counts.
    #[inline(always)]
    pub fn record(&mut self, late_ns: u64) {
        self.0[(late_ns | ((1 << FINEST_POWER) - 1)).ilog2() as usize] += 1;
    }

    /// The greatest lateness that falls into each bucket, in nanoseconds, and how many there are; without empty ones.
    pub fn buckets(self) -> impl Iterator<Item = Bucket> {
        let top = |power: usize| (2u64 << power).wrapping_sub(1);
        let all = self.0.into_iter().enumerate().map(move |(power, count)| (top(power), count));
        all.filter(|(_, count)| *count > 0)
    }
}

/// How the APIC timer is set.
#[derive(Clone, Copy)]
pub struct Hardware {
    /// `None` until this CPU's timer has been started.
    pub mode: Option<TimerMode>,
    /// To cycles of the APIC timer or of the TSC, as the mode wants.
    pub scale: AlarmScale,
}

impl Hardware {
    /// It is not: without a mode, the scale is not used.
    pub const NONE: Hardware = Hardware { mode: None, scale: AlarmScale::GIGAHERTZ };
}

/// A CPU's timers.
pub struct Queue {
    pub heap: Heap<'static, Timer>,
    /// What the APIC timer is set to, or [`NEVER`]; [`EXPIRING`] while the interrupt calls callbacks, and will set it
    /// itself afterwards.
    pub armed_ns: u64,
    pub hardware: Hardware,
    /// The inline storage while it is not used.
    pub spare: Option<Storage<'static, Timer>>,
    /// The frames that hold the storage while it is not inline.
    pub frames: Option<FrameRange>,
    /// The next in the list of those whose CPUs are offline: see `guests`.
    pub next_guest: Option<&'static SpinLockIrq<Queue>>,
    /// How late its timers were.
    pub lateness: Lateness,
}

pub const BYTES_PER_TIMER: usize = size_of::<Place>() + size_of::<Slot<Timer>>();

/// Makes storage of a block of memory.
///
/// # Safety
/// The block is the caller's alone, aligned to a page, and stays so for as long as the storage is used.
pub unsafe fn carve(block: *mut u8, bytes: usize) -> Storage<'static, Timer> {
    const { assert!(size_of::<Place>().is_multiple_of(align_of::<Slot<Timer>>())) };
    let capacity = bytes / BYTES_PER_TIMER;
    let places = block.cast::<Place>();
    // SAFETY: both parts lie in the block, one behind the other, aligned as asserted, and are written before they are
    // borrowed.
    unsafe {
        let slots = places.add(capacity).cast::<Slot<Timer>>();
        for number in 0..capacity {
            places.add(number).write(Place::EMPTY);
            slots.add(number).write(Slot::EMPTY);
        }
        Storage {
            places: core::slice::from_raw_parts_mut(places, capacity),
            slots: core::slice::from_raw_parts_mut(slots, capacity),
        }
    }
}

/// Enters how many whole periods have passed since a deadline that was missed; returns the first deadline after that. A
/// function of its own: a division takes longer than all the rest of an interrupt, and is hardly ever needed.
#[cold]
#[inline(never)]
fn catch_up(now_ns: u64, expiry: &mut Expiry, period_ns: u64) -> u64 {
    expiry.missed = (now_ns - expiry.deadline_ns).checked_div(period_ns).unwrap_or(0);
    expiry.deadline_ns + period_ns + expiry.missed * period_ns
}

impl Queue {
    pub const fn new() -> Queue {
        Queue {
            heap: Heap::new(),
            armed_ns: NEVER,
            hardware: Hardware::NONE,
            spare: None,
            frames: None,
            next_guest: None,
            lateness: Lateness::NONE,
        }
    }

    /// The earliest timer that is due, out of the queue or put off to its next period, and what its callback gets, which is
    /// put into `place`. Part of the interrupt's path, of which each instruction counts: what is returned would be copied.
    #[inline(always)]
    pub fn take_due<'a>(
        &mut self,
        now_ns: u64,
        place: &'a mut MaybeUninit<Expiry>,
    ) -> Option<(Timer, &'a Expiry)> {
        let Due { deadline_ns, payload: timer, .. } = self.heap.peek_due(now_ns)?;
        self.lateness.record(now_ns - deadline_ns);
        let expiry = place.write(Expiry { data: timer.data, deadline_ns, missed: 0 });
        if timer.period_ns == 0 {
            self.heap.take_due(now_ns);
            self.shrink();
        } else {
            let mut next_ns = deadline_ns + timer.period_ns;
            if next_ns <= now_ns {
                next_ns = catch_up(now_ns, expiry, timer.period_ns);
            }
            self.heap.postpone_first(next_ns);
        }
        Some((timer, expiry))
    }

    /// Sets the APIC timer of the CPU that runs this, whose queue this is: for no time before the deadline, unless a count
    /// of 32 bits does not reach so far. Part of the interrupt's path, of which each instruction counts.
    #[inline(always)]
    pub fn set_hardware(&mut self, guard: &IrqGuard, deadline_ns: u64) {
        self.set_hardware_at(guard, deadline_ns, now_ns());
    }

    /// As [`set_hardware`](Self::set_hardware), for a caller that has just read the clock.
    #[inline(always)]
    pub fn set_hardware_at(&mut self, guard: &IrqGuard, deadline_ns: u64, now_ns: u64) {
        self.armed_ns = deadline_ns;
        let counts = self.hardware.scale.counts(deadline_ns.saturating_sub(now_ns));
        match self.hardware.mode {
            None => {}
            Some(TimerMode::OneShot) if deadline_ns == NEVER => apic::set_timer_count(guard, 0),
            // The scale knows that there are only 32 bits.
            Some(TimerMode::OneShot) => apic::set_timer_count(guard, counts as u32),
            Some(TimerMode::TscDeadline) if deadline_ns == NEVER => apic::set_tsc_deadline(guard, 0),
            Some(TimerMode::TscDeadline) => apic::set_tsc_deadline(guard, read_tsc() + counts),
        }
    }

    /// Goes back to the inline storage when few timers are left, and none of them sits beyond it.
    #[inline]
    pub fn shrink(&mut self) {
        if self.frames.is_some() && self.heap.len() <= FEW {
            self.shrink_to_inline();
        }
    }

    #[cold]
    fn shrink_to_inline(&mut self) {
        let Some(spare) = self.spare.take() else { return };
        match self.heap.move_to(spare) {
            Ok(_) => drop(self.frames.take()),
            Err(spare) => self.spare = Some(spare),
        }
    }
}
