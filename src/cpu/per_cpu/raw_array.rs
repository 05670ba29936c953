//! Access to one word of an array in a per-CPU variable by one instruction.

use core::arch::asm;

use super::PerCpu;

/// Array access for hot paths. It computes no address of the copy and requires no guard. Each function accesses the copy
/// of the CPU that executes the instruction.
///
/// **Context:** any.
pub trait RawArrayAccess: PerCpu {
    /// Loads the 64-bit word with index `index` of the array that begins `AT` bytes after the start of this CPU's copy.
    ///
    /// # Safety
    /// The copy has such a word, and no `&mut` to it exists.
    #[inline(always)]
    unsafe fn load_word<const AT: usize>(index: usize) -> u64 {
        let value: u64;
        // SAFETY: the copy has such a word and no `&mut` to it, guaranteed by the caller (see # Safety). GS base
        // addresses this CPU's copy.
        unsafe {
            asm!("mov {value}, gs:[{template} + 8 * {index} + {at}]", value = out(reg) value,
                template = in(reg) Self::template(), index = in(reg) index, at = const AT,
                options(nostack, preserves_flags));
        }
        value
    }

    /// Stores a 64-bit word, otherwise as [`load_word`](Self::load_word).
    ///
    /// # Safety
    /// As for [`load_word`](Self::load_word), and the value is valid for the type.
    #[inline(always)]
    unsafe fn store_word<const AT: usize>(index: usize, value: u64) {
        // SAFETY: the copy has such a word, no `&mut` to it exists, and the value is valid for the type, guaranteed by
        // the caller (see # Safety). GS base addresses this CPU's copy.
        unsafe {
            asm!("mov gs:[{template} + 8 * {index} + {at}], {value}", value = in(reg) value,
                template = in(reg) Self::template(), index = in(reg) index, at = const AT,
                options(nostack, preserves_flags));
        }
    }
}

impl<P: PerCpu> RawArrayAccess for P {}
