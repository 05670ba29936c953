//! What the wait queue needs of the kernel.

pub(super) use crate::cpu::IrqGuard as Guard;
use crate::cpu::thread;
use crate::sched::blocking;
pub(super) use crate::sched::blocking::{deadline_after, may_block};
use crate::sched::mechanism;
use crate::sched::state::Wait;
use crate::sched::tcb::{Tcb, ThreadRef};
use crate::smp;
pub use crate::sync::TimedOut;
pub(super) use crate::sync::{SpinLock, SpinLockGuard};

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

/// Returns a number other than 0 that tells a thread from all others: a multiple of 4.
pub(super) fn id_of(handle: &Handle) -> usize {
    core::ptr::from_ref::<Tcb>(handle).addr()
}

/// Returns that of the running thread, or 0 where no thread runs.
#[inline(always)]
pub(super) fn current_id() -> usize {
    thread::current_scheduled()
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
