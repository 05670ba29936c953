//! When the screen is drawn. Scrolling changes thousands of characters of up to 104 pixels each. Therefore a writer, which
//! holds the console with interrupts disabled, only adds its line to the screen's text. The screen is drawn afterwards, in
//! sections, and the console is freed between two sections.
//!
//! The writer draws before its log line ends, if it is in thread context with interrupts enabled. A writer with interrupts
//! disabled draws only errors and warnings, and everything until interrupts are enabled for the first time, because the machine
//! may hang next. The next writer, or a CPU before it halts, draws the rest. A CPU that ends the run draws immediately.

use core::sync::atomic::{AtomicBool, Ordering};

use super::port::{self, Unsent, may_wait};
use super::screen::SCREEN;
use crate::cpu::irq_guard::interrupts_enabled;

/// Whether text may not have been drawn.
static IS_DIRTY: AtomicBool = AtomicBool::new(false);

/// Whether writers with interrupts disabled may defer drawing.
static IS_DEFERRED: AtomicBool = AtomicBool::new(false);

/// The most sections that a writer draws, because other CPUs may keep writing. More than a framebuffer has.
const MAX_SECTIONS: usize = 2048;

/// Records that text was written. The caller holds the console.
pub(super) fn mark_dirty() {
    IS_DIRTY.store(true, Ordering::Relaxed);
}

/// Whether there is text to draw.
///
/// **Context:** any.
pub(super) fn is_dirty() -> bool {
    IS_DIRTY.load(Ordering::Relaxed)
}

/// Lets writers with interrupts disabled defer drawing from now on.
pub(super) fn defer() {
    IS_DEFERRED.store(true, Ordering::Relaxed);
}

/// Draws text that was written, if the context allows it; with [`Unsent::Wait`] also with interrupts disabled. Returns
/// whether it has held the console: the caller then calls `write_deferred` of the logger.
///
/// **Context:** any; no lock held that is taken under the console's.
pub(super) fn draw(unsent: Unsent) -> bool {
    if !is_dirty() || !may_wait() {
        return false;
    }
    if unsent == Unsent::Defer && IS_DEFERRED.load(Ordering::Relaxed) && !interrupts_enabled() {
        return false;
    }
    for section in 0..MAX_SECTIONS {
        // A holder draws when it has freed the console. Many CPUs that become idle at once must not queue for it.
        let serial = match unsent {
            Unsent::Wait => port::lock(),
            Unsent::Defer => match port::try_lock() {
                Some(serial) => serial,
                None => return section > 0,
            },
        };
        let is_left = SCREEN.lock().draw_section();
        if !is_left {
            // Under the lock: text that is written later sets it again.
            IS_DIRTY.store(false, Ordering::Relaxed);
        }
        drop(serial);
        if !is_left {
            break;
        }
    }
    true
}
