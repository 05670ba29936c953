//! Replacement of instructions in code that an NMI may execute at any time.

use core::arch::asm;

/// Writes eight bytes of code by one store. An NMI or a machine check is taken between two instructions of this CPU, so
/// its handler executes either the old code or the new code, never a mixture.
///
/// **Context:** the BSP, while no other CPU runs: for other CPUs a store across two cache lines is not atomic. A
/// serialising instruction must follow before other code calls this code (SDM Vol. 3A, 9.1.3).
///
/// # Safety
/// The eight bytes from `place` on are writable code. The new instructions do what the callers of the code expect.
pub(crate) unsafe fn write_word(place: u64, bytes: [u8; 8]) {
    // SAFETY: the eight bytes are writable code, guaranteed by the caller (see # Safety). The asm block is one
    // instruction; the compiler could split the write of an array.
    unsafe {
        asm!("mov [{place}], {bytes}", place = in(reg) place, bytes = in(reg) u64::from_le_bytes(bytes),
            options(nostack, preserves_flags));
    }
}
