//! Backtraces of this CPU's stack by frame pointers. Every build profile keeps frame pointers.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::boot::image;
use crate::cpu::prologue::words_above_stack_pointer;
use crate::cpu::thread;
use crate::wire::Registers;

/// The most return addresses of a backtrace.
pub(crate) const MAX_FRAMES: usize = 32;

/// Where the entry of interrupts has saved the interrupted code's RIP, above the stack pointer of its calls.
pub(crate) const INTERRUPTED_RIP: u64 = 17 * 8;

/// The same of RSP.
pub(crate) const INTERRUPTED_RSP: u64 = 20 * 8;

/// Walks the chain of frame pointers on this CPU's stacks and returns the return addresses, innermost first, at most
/// [`MAX_FRAMES`]. A frame pointer that is invalid ends the walk. Behind the entry of an interrupt is the address of the interrupted
/// instruction plus 1, as a return address is that behind a call.
///
/// **Context:** any.
pub(crate) fn backtrace(frame_pointer: u64) -> impl Iterator<Item = u64> {
    Backtrace::new(frame_pointer, thread::is_on_stack).take(MAX_FRAMES)
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
    Backtrace::new(frame_pointer, move |at| stack.contains(&at)).take(MAX_FRAMES)
}

/// The same for interrupted code, which may be at an instruction of a function that has no frame yet, or none any more: the
/// chain then leaves out the function's caller.
///
/// **Context:** any.
pub(crate) fn backtrace_of(registers: &Registers) -> impl Iterator<Item = u64> {
    let chain = Backtrace::new(registers.rbp(), thread::is_on_stack);
    let caller = caller_outside_chain(registers.rip(), registers.rsp(), thread::is_on_stack);
    caller.into_iter().chain(chain).take(MAX_FRAMES)
}

/// The return address of a function that is interrupted in its prologue or at its RET.
fn caller_outside_chain(rip: u64, rsp: u64, is_on_stack: impl Fn(u64) -> bool) -> Option<u64> {
    let code = [0, 1, 2].map(|offset| code_byte(rip.checked_add(offset)?));
    let at = rsp.checked_add(8 * words_above_stack_pointer(code)?)?;
    stack_word(at, is_on_stack).filter(|address| image::is_text(*address))
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
    /// The addresses of interrupted code that come before the next one of the chain.
    interrupted: [Option<u64>; 2],
}

impl<F: Fn(u64) -> bool> Backtrace<F> {
    fn new(frame: u64, is_on_stack: F) -> Backtrace<F> {
        Backtrace { frame, is_on_stack, interrupted: [None; 2] }
    }

    /// Where code was interrupted whose registers lie at `saved`, and its caller if that is not in the chain.
    fn interrupted_at(&self, saved: u64) -> Option<[Option<u64>; 2]> {
        let word = |offset| stack_word(saved.checked_add(offset)?, &self.is_on_stack);
        let (rip, rsp) = (word(INTERRUPTED_RIP)?, word(INTERRUPTED_RSP)?);
        image::is_text(rip).then(|| [rip.checked_add(1), caller_outside_chain(rip, rsp, &self.is_on_stack)])
    }
}

impl<F: Fn(u64) -> bool> Iterator for Backtrace<F> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if let Some(address) = self.interrupted.iter_mut().find_map(Option::take) {
            return Some(address);
        }
        // A frame pointer that is unaligned or outside the stacks ends the chain.
        let word = |at| stack_word(at, &self.is_on_stack);
        let (caller, return_address) = (word(self.frame)?, word(self.frame.checked_add(8)?)?);
        if !image::is_text(return_address) {
            return None;
        }
        if image::is_interrupt_entry(return_address) {
            // Its calls push the return address below the registers that it has saved.
            self.interrupted =
                self.frame.checked_add(16).and_then(|at| self.interrupted_at(at)).unwrap_or_default();
        }
        self.frame = caller;
        Some(return_address)
    }
}
