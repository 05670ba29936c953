//! The switch from one stack to another.

use crate::cpu::IrqGuard;

core::arch::global_asm!(include_str!("switch.S"), ".text", options(att_syntax));

unsafe extern "C" {
    fn octopod_switch_context(save: *mut u64, load: u64);
    fn octopod_begin_thread();
}

/// The words that the first switch to a new context pops: R15, R14, R13, R12, RBX, RBP and the return address.
const FRAME_WORDS: usize = 7;

/// Writes the frame of a context that begins with `function(argument)`. Returns its stack pointer.
///
/// # Safety
/// `top` is aligned to 16, and the seven words below it are valid for writes and used by nothing else. `function` does not
/// return.
pub(super) unsafe fn prepare(
    top: *mut u8,
    function: unsafe extern "C" fn(usize) -> !,
    argument: usize,
) -> u64 {
    let begin = octopod_begin_thread as unsafe extern "C" fn() as usize as u64;
    // The return to `octopod_begin_thread` leaves the stack pointer at `top`, aligned for the call there.
    let frame = [0, 0, 0, function as usize as u64, argument as u64, 0, begin];
    // SAFETY: they are the seven words below `top` (see # Safety), aligned, since `top` is.
    let words = unsafe { top.cast::<u64>().sub(FRAME_WORDS) }.cast::<[u64; FRAME_WORDS]>();
    // SAFETY: they are the seven words below `top`, aligned, and nothing else uses them (see # Safety).
    unsafe { words.write(frame) };
    words.addr() as u64
}

/// Returns the frame pointer of a saved context: a switch to it pops RBP and the return address at the end.
pub(super) fn frame_of(saved_rsp: u64) -> u64 {
    saved_rsp.wrapping_add(8 * (FRAME_WORDS as u64 - 2))
}

/// Saves this context to `save`, and continues with the context `load`. Returns when another switch loads this one.
///
/// # Safety
/// `load` was saved by this function or made by [`prepare`], and was not loaded since. `save` is valid until then. The
/// caller expects to continue on any CPU whose code loads this context, and GS base is that CPU's.
#[inline(always)]
pub(super) unsafe fn switch_context(_: &IrqGuard, save: *mut u64, load: u64) {
    // SAFETY: `load` is a saved context that nothing has loaded since, guaranteed by the caller (see # Safety). The function keeps the
    // registers that the ABI has it keep.
    unsafe { octopod_switch_context(save, load) };
}
