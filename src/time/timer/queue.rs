//! A CPU's timer queue, and the APIC timer that is set for the earliest timer.

use core::mem::MaybeUninit;

use super::super::calibration::AlarmScale;
use super::super::heap::{Due, Heap, HeapNode, NEVER_NS, Storage, TimerSlot};
use super::super::now::now_ns;
use super::callback::{Callback, Expiry, INLINE};
use crate::apic::{self, TimerMode};
use crate::cpu::IrqGuard;
use crate::cpu::registers::read_tsc;
use crate::memory::FrameRange;
use crate::sync::SpinLockIrq;
use crate::wire::Bucket;

/// The queue returns to its static storage when at most this many timers are left. Well below [`INLINE`], as a hysteresis.
pub(crate) const FEW: usize = INLINE / 4;

/// The value of [`Queue::armed_ns`] while callbacks run. No deadline is earlier.
pub(crate) const EXPIRING: u64 = 0;

/// No deadline.
pub(crate) const NEVER: u64 = NEVER_NS;

/// A timer in the queue.
#[derive(Clone, Copy)]
pub(crate) struct Timer {
    /// The function to call.
    pub callback: Callback,
    /// The callback's data.
    pub data: usize,
    /// The period in nanoseconds; 0 for a timer that expires once.
    pub period_ns: u64,
}

/// The first bucket holds all timers that are less than 2 to this power nanoseconds late.
const FINEST_POWER: u32 = 10;

/// A histogram of lateness by powers of two. It has a bucket for each bit of a `u64`, so that no index is out of bounds; the
/// first few stay empty.
#[derive(Clone, Copy)]
pub(crate) struct Lateness([u64; u64::BITS as usize]);

impl Lateness {
    /// An empty histogram.
    pub(crate) const NONE: Lateness = Lateness([0; u64::BITS as usize]);

    /// Counts a timer. Inlined: part of the interrupt's hot path.
    #[inline(always)]
    pub(crate) fn record(&mut self, late_ns: u64) {
        self.0[(late_ns | ((1 << FINEST_POWER) - 1)).ilog2() as usize] += 1;
    }

    /// The non-empty buckets: the greatest lateness of each in nanoseconds, and its count.
    pub(crate) fn buckets(self) -> impl Iterator<Item = Bucket> {
        let top = |power: usize| (2u64 << power).wrapping_sub(1);
        let all = self.0.into_iter().enumerate().map(move |(power, count)| (top(power), count));
        all.filter(|(_, count)| *count > 0)
    }
}

/// The mode and scale of an APIC timer.
#[derive(Clone, Copy)]
pub(crate) struct TimerSettings {
    /// `None` until this CPU's timer has been started.
    pub mode: Option<TimerMode>,
    /// From nanoseconds to cycles of the APIC timer (one-shot mode) or of the TSC (deadline mode).
    pub scale: AlarmScale,
}

impl TimerSettings {
    /// A stopped timer. The scale is unused.
    pub(crate) const STOPPED: TimerSettings = TimerSettings { mode: None, scale: AlarmScale::GIGAHERTZ };
}

/// A CPU's timers.
pub(crate) struct Queue {
    /// The timers, by deadline.
    pub heap: Heap<'static, Timer>,
    /// The deadline that the APIC timer is set to, or [`NEVER`]. [`EXPIRING`] while the interrupt handler runs callbacks; it
    /// sets the APIC timer afterwards.
    pub armed_ns: u64,
    /// The end of the running thread's slice, or [`NEVER`]. Besides the heap, so that it needs no memory.
    pub slice_ns: u64,
    /// The mode and scale of this CPU's APIC timer.
    pub settings: TimerSettings,
    /// The static storage while it is not in use.
    pub spare: Option<Storage<'static, Timer>>,
    /// The frames that hold the storage while it is not the static one.
    pub frames: Option<FrameRange>,
    /// The next queue in the list of offline CPUs' queues: see `orphaned`.
    pub next_orphan: Option<&'static SpinLockIrq<Queue>>,
    /// The lateness of this CPU's timers.
    pub lateness: Lateness,
}

/// Bytes of storage for each timer.
pub(crate) const BYTES_PER_TIMER: usize = size_of::<HeapNode>() + size_of::<TimerSlot<Timer>>();

/// Creates storage in a block of memory.
///
/// # Safety
/// The block is page-aligned, valid for `bytes` bytes, and used by no other code for as long as the storage is in use.
pub(crate) unsafe fn carve(block: *mut u8, bytes: usize) -> Storage<'static, Timer> {
    const { assert!(size_of::<HeapNode>().is_multiple_of(align_of::<TimerSlot<Timer>>())) };
    let capacity = bytes / BYTES_PER_TIMER;
    let nodes = block.cast::<HeapNode>();
    // SAFETY: both arrays lie within the block, one after the other, since `capacity * BYTES_PER_TIMER <= bytes`.
    let slots = unsafe { nodes.add(capacity) }.cast::<TimerSlot<Timer>>();
    for number in 0..capacity {
        // SAFETY: `number` is below `capacity`, the length of the array, which lies within the block.
        let (node, slot) = (unsafe { nodes.add(number) }, unsafe { slots.add(number) });
        // SAFETY: the block is valid for writes and the storage's alone, guaranteed by the caller (see # Safety); the node is
        // aligned (assertion above).
        unsafe { node.write(HeapNode::EMPTY) };
        // SAFETY: the block is valid for writes and the storage's alone, guaranteed by the caller (see # Safety); the slot is
        // aligned (assertion above).
        unsafe { slot.write(TimerSlot::EMPTY) };
    }
    Storage {
        // SAFETY: the loop has initialised the array, which belongs to the storage alone (see # Safety).
        nodes: unsafe { core::slice::from_raw_parts_mut(nodes, capacity) },
        // SAFETY: the loop has initialised the array, which belongs to the storage alone (see # Safety) and does not overlap
        // the nodes.
        slots: unsafe { core::slice::from_raw_parts_mut(slots, capacity) },
    }
}

/// Sets the number of whole periods since a missed deadline, and returns the next deadline. Not inlined: the division takes
/// longer than the rest of the interrupt and is rarely needed.
#[cold]
#[inline(never)]
fn catch_up(now_ns: u64, expiry: &mut Expiry, period_ns: u64) -> u64 {
    expiry.missed = (now_ns - expiry.deadline_ns).checked_div(period_ns).unwrap_or(0);
    expiry.deadline_ns + period_ns + expiry.missed * period_ns
}

impl Queue {
    /// Creates an empty queue without storage.
    pub(crate) const fn new() -> Queue {
        Queue {
            heap: Heap::new(),
            armed_ns: NEVER,
            slice_ns: NEVER,
            settings: TimerSettings::STOPPED,
            spare: None,
            frames: None,
            next_orphan: None,
            lateness: Lateness::NONE,
        }
    }

    /// Returns the earliest deadline of a timer or of the slice, or [`NEVER`].
    #[inline(always)]
    pub(crate) fn next_ns(&self) -> u64 {
        self.heap.first_deadline_ns().unwrap_or(NEVER).min(self.slice_ns)
    }

    /// Takes the earliest due timer from the queue; a periodic one stays with its next deadline. Writes the callback's
    /// argument to `place`: returning it would copy it. Inlined: part of the interrupt's hot path.
    #[inline(always)]
    pub(crate) fn take_due<'a>(
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

    /// Arms this CPU's APIC timer, whose queue this is, for the deadline, or to an earlier time if 32 bits cannot hold the
    /// count. Inlined: part of the interrupt's hot path.
    #[inline(always)]
    pub(crate) fn arm(&mut self, guard: &IrqGuard, deadline_ns: u64) {
        self.arm_at(guard, deadline_ns, now_ns());
    }

    /// [`arm`](Self::arm) for the earliest deadline of a timer or of the slice.
    #[inline(always)]
    pub(crate) fn arm_next(&mut self, guard: &IrqGuard) {
        let next_ns = self.next_ns();
        self.arm(guard, next_ns);
    }

    /// [`arm`](Self::arm) for a caller that has just read the clock.
    #[inline(always)]
    pub(crate) fn arm_at(&mut self, guard: &IrqGuard, deadline_ns: u64, now_ns: u64) {
        self.armed_ns = deadline_ns;
        let counts = self.settings.scale.counts(deadline_ns.saturating_sub(now_ns));
        match self.settings.mode {
            None => {}
            Some(TimerMode::OneShot) if deadline_ns == NEVER => apic::set_timer_count(guard, 0),
            // The scale limits the count to 32 bits.
            Some(TimerMode::OneShot) => apic::set_timer_count(guard, counts as u32),
            Some(TimerMode::TscDeadline) if deadline_ns == NEVER => apic::set_tsc_deadline(guard, 0),
            Some(TimerMode::TscDeadline) => apic::set_tsc_deadline(guard, read_tsc() + counts),
        }
    }

    /// Returns to the static storage if few timers are left and all their slot numbers fit.
    #[inline]
    pub(crate) fn shrink(&mut self) {
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
