//! What the wait queue needs of the kernel.

#[cfg(feature = "checked")]
use super::deadlock;
#[cfg(feature = "checked")]
pub(super) use super::deadlock::MutexWait;
use crate::console::LineBuffer;
pub(super) use crate::cpu::IrqGuard as Guard;
use crate::cpu::thread;
use crate::sched::blocking;
pub(super) use crate::sched::blocking::{deadline_after, may_block};
use crate::sched::entity::Entity;
#[cfg(feature = "faults")]
use crate::sched::faults::{self, SchedFault};
use crate::sched::inheritance::Inheritance;
use crate::sched::mechanism;
use crate::sched::state::Wait;
use crate::sched::tcb::{Tcb, ThreadRef};
use crate::smp;
pub use crate::sync::TimedOut;
#[cfg(feature = "checked")]
use crate::sync::lock_order;
pub(super) use crate::sync::{LockClass, SpinLock, SpinLockGuard};

/// How often a held lock is tried at most: about as long as two switches take.
const MOST_SPINS: u32 = 100;

/// The running thread.
pub(super) struct Me(&'static Tcb);

/// A thread that waits.
pub(super) type Handle = ThreadRef;

/// Keeps interrupts off, so that this thread stays on its CPU and no other runs there.
#[inline(always)]
pub(super) fn guard() -> Guard {
    Guard::new()
}

/// Ends the section of a guard, and switches to a thread that was woken in it if that should run.
#[inline(always)]
pub(super) fn finish(guard: Guard) {
    mechanism::switch_after(guard);
}

/// Checks that the caller may block; `what` is for the message. Returns the guard under which it does.
#[track_caller]
pub(super) fn begin_block(what: &str) -> (Guard, Me) {
    let (guard, tcb) = blocking::begin_block(what);
    (guard, Me(tcb))
}

/// Returns a handle of the running thread.
pub(super) fn handle(me: &Me) -> Handle {
    ThreadRef::to(me.0)
}

/// Returns a number other than 0 that tells a thread from all others: the address of its inheritance, a multiple of 4.
pub(super) fn id_of(handle: &Handle) -> usize {
    core::ptr::from_ref(handle.inheritance()).addr()
}

/// Returns that of the running thread, or 0 where no thread runs.
#[inline(always)]
pub(super) fn current_id() -> usize {
    thread::current_owner()
}

/// Returns the inheritance of the running thread.
#[inline(always)]
pub(super) fn inheritance(me: &Me) -> &'static Inheritance {
    me.0.inheritance()
}

/// Returns the inheritance of a thread by its number.
#[inline(always)]
pub(super) fn inheritance_of(id: usize) -> &'static Inheritance {
    // SAFETY: the address must be that of an inheritance: `current_id` and `id_of` return no other, and it is never freed.
    unsafe { &*core::ptr::with_exposed_provenance(id) }
}

/// Returns a handle of a thread of which an inheritance has changed, and which has not ended.
pub(super) fn handle_of(_: &Inheritance, thread: &Entity) -> Handle {
    // SAFETY: the block must be valid: the entity is a field of it, and is borrowed.
    ThreadRef::to(unsafe { Tcb::of(thread.into()).as_ref() })
}

/// A thread's urgency has changed: gives it the class that belongs to it. One that waits for a mutex is woken to lend the other urgency.
#[cold]
#[inline(never)]
pub(super) fn reclassify(guard: &Guard, thread: Handle) {
    mechanism::reclassify(guard, &thread);
    if id_of(&thread) != current_id() {
        mechanism::wake_under(guard, &thread, Wait::Event);
    }
}

/// Returns whether a fault is armed by which no priority is inherited.
#[inline(always)]
pub(super) fn inverts_priority() -> bool {
    #[cfg(feature = "faults")]
    return faults::is_armed(SchedFault::InvertPriority);
    #[cfg(not(feature = "faults"))]
    false
}

/// Wakes a thread that waits in [`block_until`].
#[inline]
pub(super) fn wake(guard: &Guard, handle: Handle) {
    mechanism::wake_under(guard, &handle, Wait::Event);
}

/// Waits until `is_over`, at most until a deadline. Returns whether it is over.
#[inline]
pub(super) fn block_until(
    guard: &Guard,
    me: &Me,
    deadline_ns: Option<u64>,
    is_over: impl FnMut() -> bool,
) -> bool {
    blocking::block_until(guard, me.0, deadline_ns, is_over)
}

/// Returns how often a held lock may be tried before the caller blocks: never if its holder or another thread needs this CPU.
#[inline]
pub(super) fn spins(guard: Guard) -> u32 {
    let is_alone = smp::cpus().len() == 1 || mechanism::has_others(&guard);
    if is_alone { 0 } else { MOST_SPINS }
}

/// Checks the order of a lock, which is about to be waited for, to the locks that this thread holds, unless the wait has a deadline, which is
/// returned.
///
/// **Context:** a thread. Only a kernel with the feature `checked` does something.
#[inline(always)]
#[track_caller]
pub(super) fn expect_lock<L, D: FnOnce() -> Option<u64>>(
    lock: &L,
    class: &LockClass,
    deadline_ns: D,
) -> impl FnOnce() -> Option<u64> + use<L, D> {
    #[cfg(feature = "checked")]
    {
        let deadline_ns = deadline_ns();
        let guard = Guard::new();
        if deadline_ns.is_none()
            && let Some(me) = Tcb::current(&guard)
        {
            lock_order::expect(class, address_of(lock), me.held());
        }
        move || deadline_ns
    }
    #[cfg(not(feature = "checked"))]
    {
        let _ = (lock, class);
        deadline_ns
    }
}

/// Notes that this thread has taken a lock. **Context:** as for [`expect_lock`].
#[inline(always)]
#[track_caller]
pub(super) fn took_lock<L>(lock: &L, class: &LockClass) {
    #[cfg(feature = "checked")]
    if let Some(me) = Tcb::current(&Guard::new()) {
        lock_order::took(class, address_of(lock), me.held());
    }
    #[cfg(not(feature = "checked"))]
    let _ = (lock, class);
}

/// Notes that this thread releases a lock. **Context:** as for [`expect_lock`].
#[inline(always)]
pub(super) fn released_lock<L>(lock: &L) {
    #[cfg(feature = "checked")]
    if let Some(me) = Tcb::current(&Guard::new()) {
        lock_order::released(address_of(lock), me.held());
    }
    #[cfg(not(feature = "checked"))]
    let _ = lock;
}

/// Notes that this thread is about to block for a mutex. **Context:** as for [`deadlock::begin_wait`].
#[cfg(feature = "checked")]
pub(super) fn begin_wait(guard: &Guard, me: &Me, mutex: &MutexWait<'_>) {
    deadlock::begin_wait(guard, me.0, mutex);
}

/// Notes that this thread waits for a mutex no more. **Context:** the thread.
#[inline(always)]
pub(super) fn end_wait(guard: &Guard, me: &Me) {
    #[cfg(feature = "checked")]
    deadlock::end_wait(guard, me.0);
    #[cfg(not(feature = "checked"))]
    let _ = (guard, me);
}

/// Returns what a thread waits for, as a report names it, if that is known: a mutex, in a kernel with the feature `checked` and with
/// `locks.checked=`. **Context:** any; does not wait.
pub(crate) fn waits_for(thread: &Tcb) -> Option<LineBuffer<160>> {
    #[cfg(feature = "checked")]
    return deadlock::waits_for(thread);
    #[cfg(not(feature = "checked"))]
    {
        let _ = thread;
        None
    }
}

#[cfg(feature = "checked")]
fn address_of<L>(lock: &L) -> usize {
    core::ptr::from_ref(lock).addr()
}
