//! Replacing instructions of code that an NMI may execute at any moment.

use core::arch::asm;

/// Writes eight bytes of code by one store. An NMI or a machine check is taken between two instructions of this CPU, so its
/// handler executes the old code or the new, never a part of each.
///
/// **Context:** the boot processor, while no other CPU runs: for another CPU a store across two cache lines is no unit. A
/// serialising instruction must follow before this code is called otherwise (SDM Vol. 3A, 9.1.3).
///
/// # Safety
/// The bytes from `place` on are code that may be written. The instructions that they hold afterwards do what the callers of
/// the code expect.
pub unsafe fn write_word(place: u64, bytes: [u8; 8]) {
    // SAFETY: the eight bytes are code that may be written, guaranteed by the caller (see # Safety). One instruction, because the compiler may write an array in pieces.
    unsafe {
        asm!("mov [{place}], {bytes}", place = in(reg) place, bytes = in(reg) u64::from_le_bytes(bytes),
            options(nostack, preserves_flags));
    }
}
