//! How a thread blocks: the check that it may, the wait for a condition, and the timer that ends it.

use core::ptr::{NonNull, with_exposed_provenance_mut};
use core::time::Duration;

use super::mechanism;
use super::state::Wait;
use super::tcb::{Tcb, ThreadRef};
use crate::cpu::{IrqGuard, interrupts_enabled};
use crate::interrupts::{is_preemption_disabled, preempt_guard_site};
use crate::sync::held_lock;
use crate::time::now_ns;
use crate::time::timer::{self, Callback, Expiry, TimerId};
use crate::wire::LeaveReason;

/// Returns whether the caller may block, as far as the CPU's counts say. **Context:** any.
#[inline(always)]
pub(super) fn may_block() -> bool {
    interrupts_enabled() && !is_preemption_disabled()
}

/// Checks that the caller may block, and returns the guard under which it switches and its control block.
///
/// # Panics
/// It must not. The message names the place that forbids it, as far as that is known.
#[track_caller]
pub(super) fn begin_block(what: &str) -> (IrqGuard, &'static Tcb) {
    let guard = IrqGuard::new();
    if !guard.were_enabled() || is_preemption_disabled() {
        refuse(what, &guard);
    }
    match Tcb::current(&guard) {
        Some(tcb) => (guard, tcb),
        None => panic!("{what} where no thread runs"),
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn refuse(what: &str, guard: &IrqGuard) -> ! {
    if let Some((name, site)) = held_lock() {
        match site.location() {
            Some(at) => {
                panic!("{what} while the spin lock {name} is held, taken at {}:{}", at.file(), at.line())
            }
            None => panic!("{what} while the spin lock {name} is held"),
        }
    }
    if guard.were_enabled() {
        match preempt_guard_site().location() {
            Some(at) => panic!("{what} with a PreemptGuard, made at {}:{}", at.file(), at.line()),
            None => panic!("{what} with a PreemptGuard"),
        }
    }
    panic!(
        "{what} with interrupts off: in an interrupt handler, or with an IrqGuard or a spin lock without a name"
    )
}

/// Waits until `is_over`, at most until a deadline. Returns whether it is over. A waker first makes it so and then wakes the thread by
/// [`Wait::Event`].
///
/// **Context:** a thread, which may block; `guard` alone keeps interrupts off.
#[inline]
pub(super) fn block_until(
    guard: &IrqGuard,
    me: &'static Tcb,
    deadline_ns: Option<u64>,
    mut is_over: impl FnMut() -> bool,
) -> bool {
    let Some(deadline_ns) = deadline_ns else {
        while !is_over() {
            if me.state.begin(Wait::Event) {
                mechanism::leave(guard, me, LeaveReason::Blocked);
            }
        }
        return true;
    };
    let mut timer = None;
    while !is_over() {
        if now_ns() >= deadline_ns {
            return is_over();
        }
        let timer = timer.get_or_insert_with(|| WakeTimer::arm(me, deadline_ns, Wait::Event));
        timer.leave(guard, me);
    }
    true
}

/// Parks with a wake-up that comes before the CPU has left the thread, for the self-test.
///
/// **Context:** as for `park`.
#[cfg(feature = "selftest")]
pub(crate) fn park_and_wake() {
    let (guard, me) = begin_block("park");
    if me.state.begin(Wait::Unpark) {
        mechanism::wake_under(&guard, me, Wait::Unpark);
        mechanism::leave(&guard, me, LeaveReason::Parked);
    }
    mechanism::switch_after(guard);
}

/// The timer that ends a thread's wait. Its drop cancels it.
pub(super) struct WakeTimer {
    /// `None` if there was no memory for it.
    timer: Option<TimerId>,
    /// The timer's reference to the thread: its callback may run on another CPU while the thread ends.
    thread: NonNull<Tcb>,
    wait: Wait,
}

impl WakeTimer {
    /// Arms a timer that wakes the running thread at a time.
    ///
    /// **Context:** as for [`timer::after`].
    pub(super) fn arm(me: &Tcb, deadline_ns: u64, wait: Wait) -> WakeTimer {
        let thread = ThreadRef::to(me).into_raw();
        let callback: Callback = match wait {
            Wait::Unpark => |expiry| expired(expiry, Wait::Unpark),
            Wait::Event => |expiry| expired(expiry, Wait::Event),
        };
        let delay = Duration::from_nanos(deadline_ns.saturating_sub(now_ns()));
        let timer = timer::after(delay, callback, thread.as_ptr().expose_provenance()).ok();
        WakeTimer { timer, thread, wait }
    }

    /// Waits for a wake-up or for the timer. Without memory for a timer another thread may run, and then this one again.
    ///
    /// **Context:** the thread, which may block; `guard` alone keeps interrupts off.
    pub(super) fn leave(&self, guard: &IrqGuard, me: &'static Tcb) {
        if me.state.begin(self.wait) {
            if self.timer.is_none() {
                mechanism::wake_under(guard, me, self.wait);
            }
            let reason = match self.wait {
                Wait::Unpark => LeaveReason::Parked,
                Wait::Event => LeaveReason::Blocked,
            };
            mechanism::leave(guard, me, reason);
        }
    }
}

impl Drop for WakeTimer {
    fn drop(&mut self) {
        if self.timer.is_none_or(timer::cancel) {
            // SAFETY: the reference of `arm`. The callback, which would use it, does not run.
            drop(unsafe { ThreadRef::from_raw(self.thread) });
        }
    }
}

/// The timer's callback: wakes the thread, and gives up the timer's reference.
fn expired(expiry: &Expiry, wait: Wait) {
    let Some(raw) = NonNull::new(with_exposed_provenance_mut::<Tcb>(expiry.data)) else { return };
    // SAFETY: the data is what `WakeTimer::arm` has made of a reference; a callback that runs owns it.
    let thread = unsafe { ThreadRef::from_raw(raw) };
    mechanism::wake_under(&IrqGuard::new(), &thread, wait);
}

/// Returns the time that a duration from now on ends.
#[inline]
pub(super) fn deadline_after(duration: Duration) -> u64 {
    let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    // The clock rounds down.
    now_ns().saturating_add(ns).saturating_add(1)
}
