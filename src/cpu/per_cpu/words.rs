//! Arrays of words in a per-CPU variable, each word reached by one instruction.

use core::arch::asm;

use super::PerCpu;

/// What [`PerCpu`] can do besides, for hot paths: neither does the copy's address have to be computed, nor a guard shown.
/// A word is loaded from this CPU's copy or stored to it, whichever CPU that is.
pub trait Words: PerCpu {
    /// One 64-bit load of the word with this index in an array that lies `AT` bytes from the start of this CPU's copy.
    ///
    /// # Safety
    /// The copy has such a word, and nobody holds a `&mut` to it.
    #[inline(always)]
    unsafe fn load_word<const AT: usize>(index: usize) -> u64 {
        let value: u64;
        // SAFETY: the copy has such a word and no `&mut` to it, guaranteed by the caller (see # Safety); GS base leads from the template to this CPU's copy.
        unsafe {
            asm!("mov {value}, gs:[{template} + 8 * {index} + {at}]", value = out(reg) value,
                template = in(reg) Self::template(), index = in(reg) index, at = const AT,
                options(nostack, preserves_flags));
        }
        value
    }

    /// One 64-bit store, otherwise as [`load_word`](Self::load_word).
    ///
    /// # Safety
    /// As for [`load_word`](Self::load_word); and the value is valid there.
    #[inline(always)]
    unsafe fn store_word<const AT: usize>(index: usize, value: u64) {
        // SAFETY: the copy has such a word and no `&mut` to it, and the value is valid there, guaranteed by the caller (see # Safety);
        // GS base leads from the template to this CPU's copy.
        unsafe {
            asm!("mov gs:[{template} + 8 * {index} + {at}], {value}", value = in(reg) value,
                template = in(reg) Self::template(), index = in(reg) index, at = const AT,
                options(nostack, preserves_flags));
        }
    }
}

impl<P: PerCpu> Words for P {}
