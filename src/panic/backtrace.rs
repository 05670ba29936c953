//! Backtraces of this CPU's stack by frame pointers. Every build profile keeps frame pointers.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::boot::image;
use crate::cpu::thread;

/// The most return addresses of a backtrace.
pub(crate) const MAX_FRAMES: usize = 32;

/// Walks the chain of frame pointers on this CPU's stacks and returns the return addresses, innermost first, at most
/// [`MAX_FRAMES`]. A frame pointer that is invalid ends the walk.
///
/// **Context:** any.
pub(crate) fn backtrace(frame_pointer: u64) -> impl Iterator<Item = u64> {
    Backtrace { frame: frame_pointer }.take(MAX_FRAMES)
}

struct Backtrace {
    frame: u64,
}

impl Iterator for Backtrace {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        // A frame pointer that is unaligned or outside this CPU's stacks ends the chain.
        let both = [self.frame, self.frame.checked_add(8)?];
        if !self.frame.is_multiple_of(8) || !both.into_iter().all(thread::is_on_stack) {
            return None;
        }
        // SAFETY: `is_on_stack` above: the word lies on a stack of this CPU, which is mapped; `is_multiple_of(8)`: it is
        // aligned. It belongs to the frame of a caller or of interrupted code, which does not run during this call.
        let word = |at: u64| unsafe { AtomicU64::from_ptr(at as *mut u64) }.load(Ordering::Relaxed);
        let [caller, return_address] = both.map(word);
        if !image::is_text(return_address) {
            return None;
        }
        self.frame = caller;
        Some(return_address)
    }
}
