//! When the screen is drawn. Scrolling changes thousands of characters, each of up to 104 pixels, so a writer only adds its
//! line to the screen's text while it has the console, with interrupts off. The screen is drawn afterwards, in sections, with the
//! console freed in between.
//!
//! Who draws: a writer in thread context with interrupts on, before its log line ends; one with interrupts off where the line is
//! an error or a warning, and each before interrupts are on for the first time, because the machine may hang next. What others
//! leave is drawn by the next writer, or by a CPU before it halts. A CPU that ends the run draws at once.

use core::sync::atomic::{AtomicBool, Ordering};

use super::line::{self, Rest};
use super::logger::may_wait;
use super::screen::SCREEN;
use crate::cpu::irq_guard::interrupts_enabled;

/// Whether there is text that may not have been drawn.
static IS_BEHIND: AtomicBool = AtomicBool::new(false);

/// Whether writers with interrupts off may leave it.
static IS_DEFERRED: AtomicBool = AtomicBool::new(false);

/// So many sections a writer draws at most, for others may go on writing: more than a screen of pixels has.
const MAX_SECTIONS: usize = 2048;

/// Text was written. The caller has the console.
pub(super) fn note_written() {
    IS_BEHIND.store(true, Ordering::Relaxed);
}

/// Whether there is something to draw. Any context.
pub(super) fn is_behind() -> bool {
    IS_BEHIND.load(Ordering::Relaxed)
}

/// From now on the screen is drawn with interrupts on.
pub(super) fn defer() {
    IS_DEFERRED.store(true, Ordering::Relaxed);
}

/// Draws what was written, where the context allows it; with [`Rest::Send`] also with interrupts off. Returns whether it has had
/// the console: then [`write_kept`](super::logger::write_kept) has to look for lines. Any context; no lock held that is taken
/// under the console's.
pub(super) fn draw(rest: Rest) -> bool {
    if !is_behind() || !may_wait() {
        return false;
    }
    if rest == Rest::Leave && IS_DEFERRED.load(Ordering::Relaxed) && !interrupts_enabled() {
        return false;
    }
    for _ in 0..MAX_SECTIONS {
        let serial = line::lock();
        let is_left = SCREEN.lock().draw_section();
        if !is_left {
            // Under the lock: text that is written from here on sets it again.
            IS_BEHIND.store(false, Ordering::Relaxed);
        }
        drop(serial);
        if !is_left {
            break;
        }
    }
    true
}
