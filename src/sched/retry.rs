//! Interrupts that could not be sent are sent again by a timer.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use crate::time::timer::{self, Callback};

/// The time after which they are sent again.
const DELAY: Duration = Duration::from_millis(10);

/// Whether the timer runs, on some CPU.
static IS_ARMED: AtomicBool = AtomicBool::new(false);

/// Arms the timer. Without memory for it the next wake-up of the same CPU sends the interrupt.
///
/// **Context:** any but NMI.
#[cold]
pub(super) fn arm(callback: Callback) {
    if !IS_ARMED.swap(true, Ordering::AcqRel) && timer::after(DELAY, callback, 0).is_err() {
        disarm();
    }
}

/// Notes that the timer has expired. **Context:** its callback.
pub(super) fn disarm() {
    IS_ARMED.store(false, Ordering::Release);
}
