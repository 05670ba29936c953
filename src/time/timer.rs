//! Per-CPU timers on the local APIC timer.
//!
//! [`after`] and [`every`] add a timer to the queue of the calling CPU, whose APIC timer interrupts when the earliest timer
//! is due. [`cancel`] removes a timer from any CPU's queue. Each queue is a [`Heap`](super::heap::Heap) with its own lock,
//! because other CPUs may cancel. Callbacks run without the lock, so they may arm and cancel timers. The first [`INLINE`]
//! timers use static storage, so the kernel's own waits never lack memory. Beyond that, storage doubles in blocks of frames,
//! which are freed when few timers are left.
//!
//! A timer is never early: deadlines are rounded up, and the interrupt handler reads the clock. The APIC timer's count has 32
//! bits and its frequency is measured, so an interrupt may occur before a timer is due; the handler then sets the APIC timer
//! again. After the host has stopped the machine, one interrupt handles all due timers. Each callback runs once; that of a
//! periodic timer receives the number of missed periods.
//!
//! While a CPU is offline, the BSP runs its timers (`orphaned`).

mod armed;
mod callback;
mod orphaned;
mod queue;
mod slow;

use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::mem::MaybeUninit;
use core::time::Duration;

#[cfg(feature = "shell")]
pub(crate) use armed::{ArmedTimer, armed_timers};
pub use callback::{Callback, Expiry, INLINE};
pub(crate) use orphaned::{DetachedTimers, adopt, detach, reattach};
use queue::{BYTES_PER_TIMER, EXPIRING, NEVER, Queue, Timer, TimerSettings, carve};
pub(crate) use slow::set_machine_has_stopped;

use super::calibration::{AlarmScale, NS_PER_SECOND};
use super::frequency::Clock;
use super::heap::{HeapNode, Key, Storage, TimerSlot};
use super::now::{now_ns, now_ns_unordered};
use crate::apic::{self, TimerMode};
use crate::cpu::per_cpu::{PerCpu, gs_base};
use crate::cpu::{Features, IrqGuard};
use crate::interrupts::{self, TrapFrame, Vector};
use crate::memory::FrameRange;
use crate::memory::frames::Order;
use crate::sync::{Hook, SpinLockIrq};
use crate::wire::Bucket;
use crate::{per_cpu, trace};

/// The farthest TSC deadline, in cycles from now: no sum with the TSC overflows.
const FARTHEST_CYCLES: u64 = u64::MAX >> 1;

/// The longest delay and period in nanoseconds: 146 years, so that no sum with the time overflows.
const LONGEST_NS: u64 = 1 << 62;

/// Identifies an armed timer. It stays valid forever, and matches no other timer after this one has expired.
#[derive(Clone, Copy)]
pub struct TimerId {
    queue: &'static SpinLockIrq<Queue>,
    key: Key,
}

impl TimerId {
    /// Returns whether the timer was armed on this CPU.
    pub(super) fn is_of_this_cpu(&self, guard: &IrqGuard) -> bool {
        core::ptr::eq(self.queue, own(guard))
    }
}

/// Why a timer was not armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerError {
    /// No memory for another timer.
    OutOfMemory {
        /// How many timers this CPU has armed.
        timers: usize,
    },
}

impl fmt::Display for TimerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TimerError::OutOfMemory { timers } = self;
        write!(f, "out of memory: no room for a timer beside {timers} armed ones")
    }
}

per_cpu! {
    /// This CPU's timers.
    static QUEUE: SpinLockIrq<Queue> = SpinLockIrq::new(Queue::new());
    /// Whether the queue uses the two variables below.
    static HAS_STORAGE: Cell<bool> = Cell::new(false);
    static FIRST_NODES: UnsafeCell<[HeapNode; INLINE]> = UnsafeCell::new([HeapNode::EMPTY; INLINE]);
    static FIRST_SLOTS: UnsafeCell<[TimerSlot<Timer>; INLINE]> = UnsafeCell::new([TimerSlot::EMPTY; INLINE]);
}
crate::name_lock!(per_cpu QUEUE);

/// The scheduler's function for the end of a slice.
static SLICE_ENDED: Hook<fn(&IrqGuard)> = Hook::new();

/// The mode and scale of all CPUs' APIC timers.
static SETTINGS: SpinLockIrq<TimerSettings> = SpinLockIrq::new(TimerSettings::STOPPED);
crate::name_lock!(SETTINGS);

/// Selects the mode of all CPUs' APIC timers. Returns `false` if a frequency is 0.
///
/// **Context:** the BSP, once, interrupts disabled, after the clock is calibrated.
pub(super) fn init(guard: &IrqGuard, features: &Features, clock: &Clock) -> bool {
    let deadline_mode = apic::deadline_mode_works(guard, features);
    if features.tsc_deadline && !deadline_mode {
        log::warn!("APIC timer: TSC-deadline mode does not work, using one-shot mode");
    }
    let (mode, scale) = if deadline_mode {
        (TimerMode::TscDeadline, AlarmScale::new(clock.tsc_hz, FARTHEST_CYCLES))
    } else {
        (TimerMode::OneShot, AlarmScale::new(clock.apic_timer_hz, u64::from(u32::MAX)))
    };
    let Some(scale) = scale else { return false };
    *SETTINGS.lock() = TimerSettings { mode: Some(mode), scale };
    interrupts::register(Vector::TIMER, "APIC timer", interrupt);
    true
}

/// The mode of the APIC timers.
pub(crate) fn mode() -> TimerMode {
    SETTINGS.lock().mode.unwrap_or(TimerMode::OneShot)
}

/// Starts this CPU's timer queue. Further calls on a CPU only set up the APIC timer again, as [`restart`] does.
///
/// **Context:** interrupts disabled, after the local APIC is enabled.
pub(crate) fn start(guard: &IrqGuard) {
    if !HAS_STORAGE.get() {
        HAS_STORAGE.set(true);
        // SAFETY: the variable lies in this CPU's area, which is never freed.
        let (nodes, slots) = (unsafe { &*FIRST_NODES.as_ptr() }, unsafe { &*FIRST_SLOTS.as_ptr() });
        // SAFETY: no other code names the two variables, and each CPU creates these references once: it has set `HAS_STORAGE`
        // above, with interrupts disabled (`guard`).
        let storage = Storage { nodes: unsafe { &mut *nodes.get() }, slots: unsafe { &mut *slots.get() } };
        // An empty heap fits into any storage.
        let _ = own(guard).lock_under(guard).heap.move_to(storage);
    }
    restart(guard);
}

/// Sets up this CPU's APIC timer in the current [`mode`]. No timer is lost. Each CPU calls this after
/// [`select_clocksource`](super::select_clocksource) has switched the clock source.
///
/// **Context:** interrupts disabled.
pub(crate) fn restart(guard: &IrqGuard) {
    let settings = *SETTINGS.lock();
    apic::start_timer(guard, settings.mode.unwrap_or(TimerMode::OneShot));
    let mut queue = own(guard).lock_under(guard);
    queue.settings = settings;
    queue.arm_next(guard);
}

/// Selects one-shot mode, because an unstable TSC cannot serve as a deadline. Takes effect on each CPU at its next [`restart`].
///
/// **Context:** the BSP.
pub(super) fn disable_deadline_mode(clock: &Clock) {
    if let Some(scale) = AlarmScale::new(clock.apic_timer_hz, u64::from(u32::MAX)) {
        *SETTINGS.lock() = TimerSettings { mode: Some(TimerMode::OneShot), scale };
    }
}

/// Arms a timer that calls `callback` on this CPU once, not before `delay` has passed.
///
/// **Context:** any but NMI. With interrupts enabled it may block for memory as [`FrameRange::alloc`] does.
///
/// # Errors
/// [`TimerError::OutOfMemory`]; never if this CPU has fewer than [`INLINE`] timers.
#[inline]
pub fn after(delay: Duration, callback: Callback, data: usize) -> Result<TimerId, TimerError> {
    arm(ns_of(delay), Timer { callback, data, period_ns: 0 })
}

/// Arms a timer that calls `callback` on this CPU at the end of each period, until it is cancelled. Deadlines do not drift. A
/// period of 0 counts as one nanosecond.
///
/// **Context:** any but NMI. With interrupts enabled it may block for memory as [`FrameRange::alloc`] does.
///
/// # Errors
/// [`TimerError::OutOfMemory`]; never if this CPU has fewer than [`INLINE`] timers.
#[inline]
pub fn every(period: Duration, callback: Callback, data: usize) -> Result<TimerId, TimerError> {
    let period_ns = ns_of(period).max(1);
    arm(period_ns, Timer { callback, data, period_ns })
}

/// Converts a duration to nanoseconds, at most [`LONGEST_NS`].
#[inline]
fn ns_of(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(NS_PER_SECOND);
    whole.saturating_add(u64::from(duration.subsec_nanos())).min(LONGEST_NS)
}

fn arm(delay_ns: u64, timer: Timer) -> Result<TimerId, TimerError> {
    // Plus 1, because the clock rounds down to whole nanoseconds.
    let deadline_ns = now_ns() + delay_ns + 1;
    loop {
        let guard = IrqGuard::new();
        let queue = own(&guard);
        let mut locked = queue.lock_under(&guard);
        if let Some(key) = locked.heap.insert(deadline_ns, timer) {
            trace!(TimerArm, timer.callback as usize as u64, deadline_ns);
            if deadline_ns < locked.armed_ns {
                locked.arm(&guard, deadline_ns);
            }
            return Ok(TimerId { queue, key });
        }
        let full = locked.heap.capacity();
        drop(locked);
        drop(guard);
        grow(full)?;
    }
}

/// Cancels a timer of any CPU. Returns `true` if the callback will not be called (again). Returns `false` if the timer was
/// cancelled before or has expired; its callback may then be running, on the CPU that armed it or on the BSP.
///
/// **Context:** any but NMI.
pub fn cancel(timer: TimerId) -> bool {
    let guard = IrqGuard::new();
    let mut queue = timer.queue.lock_under(&guard);
    if queue.heap.cancel(timer.key).is_none() {
        return false;
    }
    // An idle CPU must take no unnecessary interrupt. Only the CPU itself can access its APIC timer: if another CPU cancels,
    // one spurious timer interrupt occurs.
    if core::ptr::eq(timer.queue, own(&guard)) && queue.armed_ns != EXPIRING {
        let first_ns = queue.next_ns();
        if first_ns != queue.armed_ns {
            queue.arm(&guard, first_ns);
        }
    }
    queue.shrink();
    true
}

/// Sets the end of the slice of the thread that this CPU runs. It replaces the one before. Once, at its end, the timer interrupt
/// calls the function of [`set_slice_hook`].
///
/// **Context:** interrupts off.
pub(crate) fn set_slice(guard: &IrqGuard, deadline_ns: u64) {
    let mut queue = own(guard).lock_under(guard);
    queue.slice_ns = deadline_ns;
    // While callbacks run, `armed_ns` is before every deadline, and the interrupt sets the APIC timer afterwards.
    if deadline_ns < queue.armed_ns {
        queue.arm(guard, deadline_ns);
    }
}

/// Returns whether this CPU's APIC timer is set for the earliest deadline of a timer or of the slice, or for an earlier time.
///
/// **Context:** interrupts off.
#[cfg(feature = "selftest")]
pub(crate) fn is_armed_in_time(guard: &IrqGuard) -> bool {
    let queue = own(guard).lock_under(guard);
    queue.armed_ns <= queue.next_ns()
}

/// Sets the function that is called at the end of a slice, in the timer interrupt. **Context:** the BSP, once.
pub(crate) fn set_slice_hook(ended: fn(&IrqGuard)) {
    SLICE_ENDED.set(ended);
}

/// Returns whether this CPU runs callbacks of its timers: the caller is one of them.
///
/// **Context:** any but NMI, not with the CPU's timers locked.
#[cold]
pub(crate) fn is_expiring(guard: &IrqGuard) -> bool {
    own(guard).lock_under(guard).armed_ns == EXPIRING
}

/// The number of timers that this CPU has armed.
///
/// **Context:** any but NMI.
pub fn count() -> usize {
    let guard = IrqGuard::new();
    own(&guard).lock_under(&guard).heap.len()
}

/// The lateness histogram of the CPU with this area: for each power of two, the greatest lateness of the bucket in
/// nanoseconds and the number of timers in it, ascending. Lateness is the time from a deadline to the interrupt that handled
/// the timer.
///
/// **Context:** any but NMI.
///
/// # Safety
/// `gs_base` is that of a per-CPU area that was made by `copy_template` and is never freed.
pub(crate) unsafe fn lateness(gs_base: usize) -> impl Iterator<Item = Bucket> {
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    unsafe { QUEUE.of(gs_base) }.lock().lateness.buckets()
}

/// This CPU's queue.
fn own(_: &IrqGuard) -> &'static SpinLockIrq<Queue> {
    // SAFETY: `gs_base()` is that of this CPU's area; per-CPU areas are never freed (`CpuAreas`).
    unsafe { QUEUE.of(gs_base()) }
}

/// Handles the timer interrupt.
fn interrupt(frame: &mut TrapFrame) {
    // First: the next timer interrupt may become pending while callbacks run.
    apic::end_of_interrupt();
    let guard = frame.irq_guard();
    let queue = own(guard);
    // One reading of the clock decides which timers are due. A timer that a callback arms with delay 0 expires in the next
    // interrupt, so that a timer that always arms itself again cannot starve the interrupted code.
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
    let mut first_ns = locked.next_ns();
    // No timer is due any more, so this is the slice.
    let is_slice_over = first_ns <= due_ns;
    if is_slice_over {
        locked.slice_ns = NEVER;
        first_ns = locked.next_ns();
    }
    // This reading both sets the APIC timer and ends the measurement of the callbacks.
    let ended_ns = now_ns_unordered();
    locked.arm_at(guard, first_ns, ended_ns);
    drop(locked);
    if is_slice_over {
        slice_ended(guard);
    }
    if ended_ns > due_ns + slow::LIMIT_NS {
        slow::report(last, due_ns, ended_ns);
    }
}

#[cold]
fn slice_ended(guard: &IrqGuard) {
    if let Some(ended) = SLICE_ENDED.get() {
        ended(guard);
    }
}

/// Gives this CPU's queue storage for more than `full` timers, unless a handler has already done so.
///
/// # Errors
/// [`TimerError::OutOfMemory`].
#[cold]
fn grow(full: usize) -> Result<(), TimerError> {
    let out_of_memory = TimerError::OutOfMemory { timers: full };
    let bytes = (2 * full) * BYTES_PER_TIMER;
    let order = bytes.div_ceil(Order::FRAME.bytes()).next_power_of_two().trailing_zeros();
    let order = u8::try_from(order).ok().and_then(Order::new).ok_or(out_of_memory)?;
    // Before the lock is taken: the allocation may block if interrupts are enabled.
    let frames = FrameRange::alloc(order).ok_or(out_of_memory)?;
    let guard = IrqGuard::new();
    let mut queue = own(&guard).lock_under(&guard);
    if queue.heap.capacity() > full {
        return Ok(());
    }
    // SAFETY: `frames` owns the memory, which is mapped and page-aligned. It moves into `queue.frames` below, and is dropped
    // only after the heap has moved to other storage: by the next `grow`, or by `shrink_to_inline`.
    let storage = unsafe { carve(frames.as_ptr(), frames.bytes()) };
    if let Ok(old) = queue.heap.move_to(storage)
        && queue.frames.replace(frames).is_none()
    {
        queue.spare = Some(old);
    }
    Ok(())
}
