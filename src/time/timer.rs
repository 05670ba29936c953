//! Each CPU's timers, on its own APIC timer.
//!
//! [`after`] and [`every`] put a timer into the queue of the CPU that calls, which interrupts itself when the earliest is
//! due; [`cancel`] takes one out from any CPU. The queue is a [`Heap`](super::heap::Heap) behind a lock of its own, since
//! others may cancel; callbacks run without the lock, so they may arm and cancel. Its first [`INLINE`] timers need no
//! memory, so the kernel's own waits never lack any; beyond that the storage doubles in blocks of frames, which go back
//! when few timers are left.
//!
//! A timer is never early: deadlines are rounded up, and the interrupt looks at the clock. The APIC's count has 32 bits,
//! and its frequency is measured, so an interrupt may come before anything is due; then it is set again for the rest. If
//! the whole machine was stopped for a while, one interrupt finds all timers that are due, each runs once, and a periodic
//! one is told how many periods it missed.
//!
//! While a CPU is offline, the boot processor serves its timers (`guests`).

mod guests;
#[cfg(feature = "shell")]
mod look;
mod queue;
mod slow;

use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::mem::MaybeUninit;
use core::time::Duration;

pub(crate) use guests::{Guest, host, resume, suspend};
#[cfg(feature = "shell")]
pub(crate) use look::{Armed, look};
use queue::{BYTES_PER_TIMER, EXPIRING, Hardware, NEVER, Queue, Timer, carve};

use super::Clock;
use super::calibration::{AlarmScale, NS_PER_SECOND};
use super::heap::{Key, Place, Slot, Storage};
use super::now::{now_ns, now_ns_unordered};
use crate::apic::{self, TimerMode};
use crate::cpu::per_cpu::{PerCpu, gs_base};
use crate::cpu::{Features, IrqGuard};
use crate::interrupts::{self, TrapFrame, Vector};
use crate::memory::FrameRange;
use crate::memory::frames::Order;
use crate::sync::SpinLockIrq;
use crate::wire::Bucket;
use crate::{per_cpu, trace};

/// Timers that each CPU has room for without asking the frame allocator.
pub const INLINE: usize = 16;

/// How far ahead a TSC deadline is set at most: no sum with the TSC overflows.
const FARTHEST_CYCLES: u64 = u64::MAX >> 1;

/// The longest delay and the longest period: 146 years, so that no sum of it and the time overflows.
const LONGEST_NS: u64 = 1 << 62;

/// What a timer calls, in the timer interrupt of the CPU that armed it (of the boot processor, while that CPU is offline),
/// interrupts off: it must be quick and must not wait. It may arm and cancel timers, this one as well.
pub type Callback = fn(&Expiry);

/// A timer that is due.
#[derive(Clone, Copy, Debug)]
pub struct Expiry {
    /// What it was armed with.
    pub data: usize,
    /// When it was to expire, in nanoseconds as [`now_ns`] counts them.
    pub deadline_ns: u64,
    /// Of a periodic timer, the periods that have gone by altogether since then, for which there is no call.
    pub missed: u64,
}

/// An armed timer. It may be kept for as long as one likes: of a timer that has expired, it names nothing.
#[derive(Clone, Copy)]
pub struct TimerId {
    queue: &'static SpinLockIrq<Queue>,
    key: Key,
}

/// Why a timer was not armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerError {
    /// No memory for more timers than these.
    OutOfMemory {
        /// How many timers this CPU has.
        timers: usize,
    },
}

impl fmt::Display for TimerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TimerError::OutOfMemory { timers } = self;
        write!(f, "no memory for another timer beside {timers}")
    }
}

per_cpu! {
    static QUEUE: SpinLockIrq<Queue> = SpinLockIrq::new(Queue::new());
    /// Whether the queue has been given the two below.
    static HAS_STORAGE: Cell<bool> = Cell::new(false);
    static FIRST_PLACES: UnsafeCell<[Place; INLINE]> = UnsafeCell::new([Place::EMPTY; INLINE]);
    static FIRST_SLOTS: UnsafeCell<[Slot<Timer>; INLINE]> = UnsafeCell::new([Slot::EMPTY; INLINE]);
}
crate::name_lock!(per_cpu QUEUE);

/// How all CPUs' APIC timers are set.
static HARDWARE: SpinLockIrq<Hardware> = SpinLockIrq::new(Hardware::NONE);
crate::name_lock!(HARDWARE);

/// Chooses how timers are set, for all CPUs. Once, by the boot processor, when there is a clock; `false` if the clock
/// tells no frequencies.
pub(super) fn init(guard: &IrqGuard, features: &Features, clock: &Clock) -> bool {
    let deadline_mode = apic::deadline_mode_works(guard, features);
    if features.tsc_deadline && !deadline_mode {
        log::warn!("the APIC timer's TSC-deadline mode is offered and does nothing: counting down instead");
    }
    let (mode, scale) = if deadline_mode {
        (TimerMode::TscDeadline, AlarmScale::new(clock.tsc_hz, FARTHEST_CYCLES))
    } else {
        (TimerMode::OneShot, AlarmScale::new(clock.apic_timer_hz, u64::from(u32::MAX)))
    };
    let Some(scale) = scale else { return false };
    *HARDWARE.lock() = Hardware { mode: Some(mode), scale };
    interrupts::register(Vector::TIMER, "APIC timer", interrupt);
    true
}

/// How the timers are set.
pub(crate) fn mode() -> TimerMode {
    HARDWARE.lock().mode.unwrap_or(TimerMode::OneShot)
}

/// Makes this CPU's timers ready, after its APIC is on. A second call on a CPU only sets the APIC timer up again, as
/// [`restart`] does.
pub(crate) fn start(guard: &IrqGuard) {
    if !HAS_STORAGE.get() {
        HAS_STORAGE.set(true);
        // SAFETY: nothing else names the two variables, and `HAS_STORAGE`, which is set above with interrupts off (`guard`),
        // lets each CPU come here once: these are the only references. A CPU's area is never freed.
        let storage = unsafe {
            Storage {
                places: &mut *(*FIRST_PLACES.as_ptr()).get(),
                slots: &mut *(*FIRST_SLOTS.as_ptr()).get(),
            }
        };
        // An empty heap goes anywhere.
        let _ = own(guard).lock_under(guard).heap.move_to(storage);
    }
    restart(guard);
}

/// Sets this CPU's APIC timer up once more, as [`mode`] now says. No timer is lost. On each CPU after [`decide`] has
/// changed the clock.
///
/// [`decide`]: super::decide
pub(crate) fn restart(guard: &IrqGuard) {
    let hardware = *HARDWARE.lock();
    apic::start_timer(guard, hardware.mode.unwrap_or(TimerMode::OneShot));
    let mut queue = own(guard).lock_under(guard);
    queue.hardware = hardware;
    let first_ns = queue.heap.first_deadline_ns().unwrap_or(NEVER);
    queue.set_hardware(guard, first_ns);
}

/// A TSC whose rate is unknown tells no deadline: from now on CPUs count down, each from its next [`restart`] on.
pub(super) fn give_up_deadline_mode(clock: &Clock) {
    if let Some(scale) = AlarmScale::new(clock.apic_timer_hz, u64::from(u32::MAX)) {
        *HARDWARE.lock() = Hardware { mode: Some(TimerMode::OneShot), scale };
    }
}

/// Calls `callback` on this CPU, once, not before that time is over. Any context but an NMI; with interrupts on it may
/// wait for memory as [`FrameRange::alloc`] does.
///
/// # Errors
/// No memory. With fewer than [`INLINE`] timers that does not happen.
#[inline]
pub fn after(delay: Duration, callback: Callback, data: usize) -> Result<TimerId, TimerError> {
    arm(ns_of(delay), Timer { callback, data, period_ns: 0 })
}

/// Calls `callback` on this CPU each time that a period is over, until it is cancelled. Deadlines do not drift; a period
/// of 0 counts as one nanosecond. Context and errors as for [`after`].
#[inline]
pub fn every(period: Duration, callback: Callback, data: usize) -> Result<TimerId, TimerError> {
    let period_ns = ns_of(period).max(1);
    arm(period_ns, Timer { callback, data, period_ns })
}

#[inline]
fn ns_of(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(NS_PER_SECOND);
    whole.saturating_add(u64::from(duration.subsec_nanos())).min(LONGEST_NS)
}

fn arm(delay_ns: u64, timer: Timer) -> Result<TimerId, TimerError> {
    // One more, for the part of a nanosecond that the clock does not show.
    let deadline_ns = now_ns() + delay_ns + 1;
    loop {
        let guard = IrqGuard::new();
        let queue = own(&guard);
        let mut locked = queue.lock_under(&guard);
        if let Some(key) = locked.heap.insert(deadline_ns, timer) {
            trace!(TimerArm, timer.callback as usize as u64, deadline_ns);
            if deadline_ns < locked.armed_ns {
                locked.set_hardware(&guard, deadline_ns);
            }
            return Ok(TimerId { queue, key });
        }
        let full = locked.heap.capacity();
        drop(locked);
        drop(guard);
        grow(full)?;
    }
}

/// Cancels a timer, from any CPU and any context but an NMI. Whether it did: `true` means that the callback will not be
/// called (again); `false` that the timer was cancelled before, or has expired, in which case its callback may be running
/// at this moment, on the CPU that armed it or on the boot processor.
pub fn cancel(timer: TimerId) -> bool {
    let guard = IrqGuard::new();
    let mut queue = timer.queue.lock_under(&guard);
    if queue.heap.cancel(timer.key).is_none() {
        return false;
    }
    // A CPU that now waits for nothing shall take no interrupt. Only it can reach its APIC timer: cancelled from afar, the
    // interrupt comes for nothing, once.
    if core::ptr::eq(timer.queue, own(&guard)) && queue.armed_ns != EXPIRING {
        let first_ns = queue.heap.first_deadline_ns().unwrap_or(NEVER);
        if first_ns != queue.armed_ns {
            queue.set_hardware(&guard, first_ns);
        }
    }
    queue.shrink();
    true
}

/// How many timers this CPU has.
pub fn count() -> usize {
    let guard = IrqGuard::new();
    own(&guard).lock_under(&guard).heap.len()
}

/// How late the timers of the CPU with this area have been so far, each from its deadline to the interrupt that found it
/// due: by powers of two, the greatest lateness of each bucket in nanoseconds and the number of timers in it, ascending.
///
/// # Safety
/// `gs_base` is that of an area that was made by `copy_template` and lives for good.
pub(crate) unsafe fn lateness(gs_base: usize) -> impl Iterator<Item = Bucket> {
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    unsafe { QUEUE.of(gs_base) }.lock().lateness.buckets()
}

fn own(_: &IrqGuard) -> &'static SpinLockIrq<Queue> {
    // SAFETY: the area of a CPU that runs lives for good.
    unsafe { QUEUE.of(gs_base()) }
}

fn interrupt(frame: &mut TrapFrame) {
    // At once: callbacks may take long, and the next interrupt may come meanwhile.
    apic::end_of_interrupt();
    let guard = frame.irq_guard();
    let queue = own(guard);
    // The first reading of the clock decides which timers are due: what callbacks arm for at once waits for the next interrupt,
    // so that even a timer that arms itself again and again lets the interrupted code run.
    let due_ns = now_ns_unordered();
    let mut last = None;
    let mut locked = queue.lock_under(guard);
    locked.armed_ns = EXPIRING;
    let mut expiry = MaybeUninit::uninit();
    while let Some((timer, expiry)) = locked.take_due(due_ns, &mut expiry) {
        drop(locked);
        trace!(TimerExpire, timer.callback as usize as u64, expiry.deadline_ns);
        (timer.callback)(expiry);
        last = Some(timer.callback);
        locked = queue.lock_under(guard);
    }
    let first_ns = locked.heap.first_deadline_ns().unwrap_or(NEVER);
    // The reading by which the APIC timer is set also ends the callbacks' time.
    let ended_ns = now_ns_unordered();
    locked.set_hardware_at(guard, first_ns, ended_ns);
    drop(locked);
    if ended_ns > due_ns + slow::LIMIT_NS {
        slow::report(last, ended_ns - due_ns);
    }
}

/// More storage for this CPU's timers than for `full`, unless somebody else has got it meanwhile.
#[cold]
fn grow(full: usize) -> Result<(), TimerError> {
    let out_of_memory = TimerError::OutOfMemory { timers: full };
    let bytes = (2 * full) * BYTES_PER_TIMER;
    let order = bytes.div_ceil(Order::FRAME.bytes()).next_power_of_two().trailing_zeros();
    let order = u8::try_from(order).ok().and_then(Order::new).ok_or(out_of_memory)?;
    // Before the lock is taken, since this may wait where interrupts are on.
    let frames = FrameRange::alloc(order).ok_or(out_of_memory)?;
    let guard = IrqGuard::new();
    let mut queue = own(&guard).lock_under(&guard);
    if queue.heap.capacity() > full {
        return Ok(());
    }
    // SAFETY: `frames` owns the memory, which is mapped and page-aligned. It goes into `queue.frames` with the storage, and is
    // dropped only after the heap has moved to another one: here, by the next `grow`, or by `shrink_to_inline`.
    let storage = unsafe { carve(frames.as_ptr(), frames.bytes()) };
    if let Ok(old) = queue.heap.move_to(storage)
        && queue.frames.replace(frames).is_none()
    {
        queue.spare = Some(old);
    }
    Ok(())
}
