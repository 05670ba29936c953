//! The calls on this CPU's stack, by frame pointers, which every profile keeps.

use core::sync::atomic::{AtomicU64, Ordering};

use super::MAX_FRAMES;
use crate::boot::image;
use crate::cpu::thread;

/// The return addresses behind a frame pointer of this CPU's, innermost first, at most [`MAX_FRAMES`]. Any context.
pub fn backtrace(frame_pointer: u64) -> impl Iterator<Item = u64> {
    Backtrace { frame: frame_pointer }.take(MAX_FRAMES)
}

struct Backtrace {
    frame: u64,
}

impl Iterator for Backtrace {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        // A frame that is not aligned, or on no stack of this CPU's, ends the chain.
        let both = [self.frame, self.frame.checked_add(8)?];
        if !self.frame.is_multiple_of(8) || !both.into_iter().all(thread::is_on_stack) {
            return None;
        }
        // SAFETY: the word lies on a stack of this CPU, which is mapped, and is aligned. It belongs to a function that was
        // interrupted or has called this one, and no code writes it meanwhile.
        let word = |at: u64| unsafe { AtomicU64::from_ptr(at as *mut u64) }.load(Ordering::Relaxed);
        let [caller, return_address] = both.map(word);
        if !image::is_text(return_address) {
            return None;
        }
        self.frame = caller;
        Some(return_address)
    }
}
