//! Timers of offline CPUs, which the BSP runs.
//!
//! The timers stay in the queue of their CPU, so each [`TimerId`] stays valid. One timer of the BSP, the *alarm*, is set for
//! the earliest timer of all these queues. A CPU that comes back online removes its queue from the list. The list's lock is
//! taken before that of a queue. No lock is held while a callback runs.

use core::mem::MaybeUninit;
use core::time::Duration;

use super::queue::{EXPIRING, NEVER, Queue, Timer, TimerSettings};
use super::slow;
use super::{Expiry, TimerError, TimerId, cancel, every, own, restart};
use crate::cpu::IrqGuard;
use crate::sync::SpinLockIrq;
use crate::time::now::now_ns;

/// The list of the offline CPUs' queues.
struct OrphanedTimers {
    first: Option<&'static SpinLockIrq<Queue>>,
    /// The BSP's timer; `None` while the list is empty.
    alarm: Option<TimerId>,
}

static ORPHANED_TIMERS: SpinLockIrq<OrphanedTimers> =
    SpinLockIrq::new(OrphanedTimers { first: None, alarm: None });
crate::name_lock!(ORPHANED_TIMERS);

/// The timer queue of a CPU that is going offline.
#[derive(Clone, Copy)]
pub(crate) struct DetachedTimers(&'static SpinLockIrq<Queue>);

/// Stops this CPU's APIC timer. Its timers wait for [`adopt`] or [`reattach`]. A timer interrupt that is already pending
/// still runs due timers.
///
/// **Context:** interrupts disabled.
pub(crate) fn detach(guard: &IrqGuard) -> DetachedTimers {
    let queue = own(guard);
    let mut locked = queue.lock_under(guard);
    locked.arm(guard, NEVER);
    locked.slice_ns = NEVER;
    locked.settings = TimerSettings::STOPPED;
    DetachedTimers(queue)
}

impl DetachedTimers {
    /// Whether the queue holds no timer. Only the queue's own CPU adds timers.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().heap.is_empty()
    }
}

/// Makes the BSP run the timers of a CPU until that CPU calls [`reattach`].
///
/// **Context:** the BSP, interrupts disabled. The other CPU takes no more interrupts.
///
/// # Errors
/// [`TimerError::OutOfMemory`] if the alarm cannot be armed; then nothing has changed.
pub(crate) fn adopt(guard: &IrqGuard, detached: DetachedTimers) -> Result<(), TimerError> {
    let mut orphaned = ORPHANED_TIMERS.lock_under(guard);
    if orphaned.alarm.is_none() {
        orphaned.alarm = Some(every(Duration::MAX, serve, 0)?);
    }
    detached.0.lock_under(guard).next_orphan = orphaned.first.replace(detached.0);
    orphaned.set_alarm(guard);
    Ok(())
}

/// Makes this CPU run its own timers again, adopted or not since [`detach`]. Due timers expire immediately.
///
/// **Context:** interrupts disabled.
pub(crate) fn reattach(guard: &IrqGuard) {
    let queue = own(guard);
    let mut orphaned = ORPHANED_TIMERS.lock_under(guard);
    if orphaned.remove(guard, queue) && orphaned.first.is_none() {
        orphaned.alarm.take().map(cancel);
    }
    drop(orphaned);
    restart(guard);
}

/// The alarm's callback: runs due timers of offline CPUs, in the BSP's timer interrupt.
fn serve(_: &Expiry) {
    let guard = IrqGuard::new();
    // As in `interrupt`, one reading of the clock decides which timers are due.
    let now = now_ns();
    loop {
        // A separate statement: in the condition, the lock would be held while the callback runs.
        let mut expiry = MaybeUninit::uninit();
        let due = ORPHANED_TIMERS.lock_under(&guard).take_due(&guard, now, &mut expiry);
        let Some((timer, expiry)) = due else { break };
        let began_ns = now_ns();
        (timer.callback)(expiry);
        slow::check(timer.callback, began_ns, now_ns());
    }
    ORPHANED_TIMERS.lock_under(&guard).set_alarm(&guard);
}

impl OrphanedTimers {
    /// The queues in the list.
    fn queues(&self, guard: &IrqGuard) -> impl Iterator<Item = &'static SpinLockIrq<Queue>> {
        core::iter::successors(self.first, |queue| queue.lock_under(guard).next_orphan)
    }

    /// Takes a due timer from the first queue that has one.
    fn take_due<'a>(
        &self,
        guard: &IrqGuard,
        now_ns: u64,
        place: &'a mut MaybeUninit<Expiry>,
    ) -> Option<(Timer, &'a Expiry)> {
        let is_due = |queue: &&SpinLockIrq<Queue>| queue.lock_under(guard).heap.peek_due(now_ns).is_some();
        let queue = self.queues(guard).find(is_due)?;
        queue.lock_under(guard).take_due(now_ns, place)
    }

    /// Removes a queue from the list. Returns whether it was there.
    fn remove(&mut self, guard: &IrqGuard, queue: &'static SpinLockIrq<Queue>) -> bool {
        let next = queue.lock_under(guard).next_orphan;
        let is_it = |other: &&SpinLockIrq<Queue>| core::ptr::eq(*other, queue);
        if self.first.as_ref().is_some_and(is_it) {
            self.first = next;
        } else {
            let before = self
                .queues(guard)
                .find(|other| other.lock_under(guard).next_orphan.as_ref().is_some_and(is_it));
            let Some(before) = before else { return false };
            before.lock_under(guard).next_orphan = next;
        }
        queue.lock_under(guard).next_orphan = None;
        true
    }

    /// Sets the alarm to the earliest timer of all queues. Runs on the BSP, whose timer the alarm is.
    fn set_alarm(&mut self, guard: &IrqGuard) {
        let first_ns = |queue: &SpinLockIrq<Queue>| queue.lock_under(guard).heap.first_deadline_ns();
        let deadline_ns = self.queues(guard).filter_map(first_ns).min().unwrap_or(NEVER);
        let Some(alarm) = &mut self.alarm else { return };
        let mut queue = alarm.queue.lock_under(guard);
        // The removed timer leaves room for the new one, so the insertion succeeds.
        let Some(timer) = queue.heap.cancel(alarm.key) else { return };
        let Some(key) = queue.heap.insert(deadline_ns, timer) else { return };
        alarm.key = key;
        if queue.armed_ns != EXPIRING {
            queue.arm_next(guard);
        }
    }
}
