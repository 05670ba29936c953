//! Backtraces of this CPU's stack by frame pointers. Every build profile keeps frame pointers.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::boot::image;
use crate::cpu::prologue::words_above_stack_pointer;
use crate::cpu::thread;
use crate::wire::Registers;

/// The most return addresses of a backtrace.
pub(crate) const MAX_FRAMES: usize = 32;

/// Walks the chain of frame pointers on this CPU's stacks and returns the return addresses, innermost first, at most
/// [`MAX_FRAMES`]. A frame pointer that is invalid ends the walk.
///
/// **Context:** any.
pub(crate) fn backtrace(frame_pointer: u64) -> impl Iterator<Item = u64> {
    Backtrace { frame: frame_pointer, is_on_stack: thread::is_on_stack }.take(MAX_FRAMES)
}

/// The same for a thread that does not run, on its stack.
///
/// # Safety
/// The stack is mapped. Other CPUs may write to it meanwhile: then the addresses may be wrong.
///
/// **Context:** any.
pub(crate) unsafe fn backtrace_in(
    stack: core::ops::Range<u64>,
    frame_pointer: u64,
) -> impl Iterator<Item = u64> {
    Backtrace { frame: frame_pointer, is_on_stack: move |at| stack.contains(&at) }.take(MAX_FRAMES)
}

/// The same for interrupted code, which may be at an instruction of a function that has no frame yet, or none any more: the
/// chain then leaves out the function's caller.
///
/// **Context:** any.
pub(crate) fn backtrace_of(registers: &Registers) -> impl Iterator<Item = u64> {
    let chain = Backtrace { frame: registers.rbp(), is_on_stack: thread::is_on_stack };
    caller_outside_chain(registers).into_iter().chain(chain).take(MAX_FRAMES)
}

/// The return address of a function that is interrupted in its prologue or at its RET.
fn caller_outside_chain(registers: &Registers) -> Option<u64> {
    let code = [0, 1, 2].map(|offset| code_byte(registers.rip().checked_add(offset)?));
    let at = registers.rsp().checked_add(8 * words_above_stack_pointer(code)?)?;
    stack_word(at, thread::is_on_stack).filter(|address| image::is_text(*address))
}

/// A byte of the kernel's code.
fn code_byte(address: u64) -> Option<u8> {
    // SAFETY: `is_text`: the byte is mapped and readable. Other CPUs may patch it, which one read of a byte tolerates.
    image::is_text(address).then(|| unsafe { AtomicU8::from_ptr(address as *mut u8) }.load(Ordering::Relaxed))
}

/// A word on a stack: on one of this CPU's, or on that of a caller of [`backtrace_in`].
fn stack_word(at: u64, is_on_stack: impl Fn(u64) -> bool) -> Option<u64> {
    if !at.is_multiple_of(8) || !is_on_stack(at) {
        return None;
    }
    // SAFETY: `is_on_stack` above: the word lies on a stack of this CPU, which is mapped, or on one that the caller of `backtrace_in`
    // guarantees to be; `is_multiple_of(8)`: it is aligned. On this CPU's it belongs to the frame of a caller or of interrupted code, which
    // does not run during this call; on another it may change, which one read tolerates.
    Some(unsafe { AtomicU64::from_ptr(at as *mut u64) }.load(Ordering::Relaxed))
}

struct Backtrace<F> {
    frame: u64,
    is_on_stack: F,
}

impl<F: Fn(u64) -> bool> Iterator for Backtrace<F> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        // A frame pointer that is unaligned or outside the stacks ends the chain.
        let word = |at| stack_word(at, &self.is_on_stack);
        let (caller, return_address) = (word(self.frame)?, word(self.frame.checked_add(8)?)?);
        if !image::is_text(return_address) {
            return None;
        }
        self.frame = caller;
        Some(return_address)
    }
}
