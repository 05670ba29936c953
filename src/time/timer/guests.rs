//! Timers of CPUs that are offline, which the boot processor serves.
//!
//! They stay in their CPU's queue, so their [`TimerId`]s stay good; a single timer of the boot processor's, the *alarm*,
//! is set for the earliest of all such queues. A CPU that comes back takes its queue out of the list and goes on as if
//! nothing had been. The list's lock is taken before a queue's; neither is held while a callback runs.

use core::mem::MaybeUninit;
use core::time::Duration;

use super::queue::{EXPIRING, Hardware, NEVER, Queue, Timer};
use super::slow;
use super::{Expiry, TimerError, TimerId, cancel, every, own, restart};
use crate::cpu::IrqGuard;
use crate::sync::SpinLockIrq;
use crate::time::now::now_ns;

struct Guests {
    first: Option<&'static SpinLockIrq<Queue>>,
    /// Of the boot processor; there while the list is not empty.
    alarm: Option<TimerId>,
}

static GUESTS: SpinLockIrq<Guests> = SpinLockIrq::new(Guests { first: None, alarm: None });
crate::name_lock!(GUESTS);

/// The queue of a CPU that goes offline.
#[derive(Clone, Copy)]
pub struct Guest(&'static SpinLockIrq<Queue>);

/// Stops this CPU's APIC timer. What its queue holds waits for [`host`] or [`resume`]; an interrupt that is pending already
/// still serves what is due.
pub fn suspend(guard: &IrqGuard) -> Guest {
    let queue = own(guard);
    let mut locked = queue.lock_under(guard);
    locked.set_hardware(guard, NEVER);
    locked.hardware = Hardware::NONE;
    Guest(queue)
}

impl Guest {
    /// Whether there is nothing to serve. Nobody but its own CPU puts timers into a queue.
    pub fn is_empty(&self) -> bool {
        self.0.lock().heap.is_empty()
    }
}

/// From now on this CPU serves that queue, until its own CPU calls [`resume`]. On the boot processor alone, interrupts off;
/// the other CPU takes no interrupts any more.
///
/// # Errors
/// No memory for one more timer of this CPU's; then nothing has changed.
pub fn host(guard: &IrqGuard, guest: Guest) -> Result<(), TimerError> {
    let mut guests = GUESTS.lock_under(guard);
    if guests.alarm.is_none() {
        guests.alarm = Some(every(Duration::MAX, serve, 0)?);
    }
    guest.0.lock_under(guard).next_guest = guests.first.replace(guest.0);
    guests.set_alarm(guard);
    Ok(())
}

/// This CPU serves its own timers again, whether or not another has done so since [`suspend`]; what is due expires at
/// once.
pub fn resume(guard: &IrqGuard) {
    let mine = own(guard);
    let mut guests = GUESTS.lock_under(guard);
    if guests.remove(guard, mine) && guests.first.is_none() {
        guests.alarm.take().map(cancel);
    }
    drop(guests);
    restart(guard);
}

/// The alarm: on the boot processor, in its timer interrupt.
fn serve(_: &Expiry) {
    let guard = IrqGuard::new();
    // As in `interrupt`, one look at the clock.
    let now = now_ns();
    loop {
        // Not in the condition: the lock would be held as long as the callback runs.
        let mut expiry = MaybeUninit::uninit();
        let due = GUESTS.lock_under(&guard).take_due(&guard, now, &mut expiry);
        let Some((timer, expiry)) = due else { break };
        let began_ns = now_ns();
        (timer.callback)(expiry);
        slow::check(timer.callback, now_ns().wrapping_sub(began_ns));
    }
    GUESTS.lock_under(&guard).set_alarm(&guard);
}

impl Guests {
    fn queues(&self, guard: &IrqGuard) -> impl Iterator<Item = &'static SpinLockIrq<Queue>> {
        core::iter::successors(self.first, |queue| queue.lock_under(guard).next_guest)
    }

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

    /// Takes a queue out of the list; whether it was in.
    fn remove(&mut self, guard: &IrqGuard, queue: &'static SpinLockIrq<Queue>) -> bool {
        let next = queue.lock_under(guard).next_guest;
        let is_it = |other: &&SpinLockIrq<Queue>| core::ptr::eq(*other, queue);
        if self.first.as_ref().is_some_and(is_it) {
            self.first = next;
        } else {
            let before = self
                .queues(guard)
                .find(|other| other.lock_under(guard).next_guest.as_ref().is_some_and(is_it));
            let Some(before) = before else { return false };
            before.lock_under(guard).next_guest = next;
        }
        queue.lock_under(guard).next_guest = None;
        true
    }

    /// Sets the alarm for the earliest timer of all queues, on the boot processor, whose own it is.
    fn set_alarm(&mut self, guard: &IrqGuard) {
        let first_ns = |queue: &SpinLockIrq<Queue>| queue.lock_under(guard).heap.first_deadline_ns();
        let deadline_ns = self.queues(guard).filter_map(first_ns).min().unwrap_or(NEVER);
        let Some(alarm) = &mut self.alarm else { return };
        let mut queue = alarm.queue.lock_under(guard);
        // What is taken out leaves room for what is put in.
        let Some(timer) = queue.heap.cancel(alarm.key) else { return };
        let Some(key) = queue.heap.insert(deadline_ns, timer) else { return };
        alarm.key = key;
        if queue.armed_ns != EXPIRING {
            let first_ns = queue.heap.first_deadline_ns().unwrap_or(NEVER);
            queue.set_hardware(guard, first_ns);
        }
    }
}
