//! The mark of free objects: their first word is a random one of this boot, by which a second free is recognised.

use core::ptr::NonNull;

/// What a checked heap fills the free memory of slabs with, but for the marks.
pub(super) const FREE_BYTE: u8 = 0xdf;

/// Whether the first word of an object is this one. The object may be partly uninitialised, so the compiler must not see the read.
///
/// # Safety
/// The object is valid for reads of 8 bytes and aligned to 8.
pub(super) unsafe fn has_word(object: NonNull<u8>, word: u64) -> bool {
    // Miri runs no assembly, and knows an uninitialised word. A second free is then found when the object returns to its slab.
    #[cfg(miri)]
    let found = {
        let _ = object;
        !word
    };
    #[cfg(not(miri))]
    let found = {
        let found: u64;
        // SAFETY: the word is readable, guaranteed by the caller (see # Safety). The assembly reads it and changes `found` only.
        unsafe {
            core::arch::asm!("mov {found}, qword ptr [{object}]", object = in(reg) object.as_ptr(), found = lateout(reg) found,
                options(nostack, readonly, preserves_flags));
        }
        found
    };
    found == word
}

/// Writes the first word of an object, unless it is this one already; whether it was not. The object may be partly uninitialised, so the
/// compiler must not see the read: it could take the comparison for undefined.
///
/// # Safety
/// The object is valid for reads and writes of 8 bytes and aligned to 8.
#[inline(always)]
pub(super) unsafe fn replace_word(object: NonNull<u8>, word: u64) -> bool {
    #[cfg(target_os = "none")]
    // SAFETY: the word is readable and writable, guaranteed by the caller (see # Safety). The assembly changes it and the flags only.
    unsafe {
        core::arch::asm!("cmp qword ptr [{object}], {word}", "je {same}", "mov qword ptr [{object}], {word}",
            object = in(reg) object.as_ptr(), word = in(reg) word, same = label { return false }, options(nostack));
    }
    #[cfg(not(target_os = "none"))]
    {
        // SAFETY: the word is readable and aligned, guaranteed by the caller (see # Safety).
        if unsafe { has_word(object, word) } {
            return false;
        }
        // SAFETY: the word is writable, guaranteed by the caller (see # Safety).
        unsafe { object.cast::<u64>().write(word) };
    }
    true
}

/// Removes the mark of a free object.
///
/// # Safety
/// The object is the caller's, has 8 bytes or more, and is aligned to 8.
#[inline(always)]
pub(super) unsafe fn mark_allocated(object: NonNull<u8>) {
    // SAFETY: the object is the caller's, guaranteed by the caller (see # Safety).
    unsafe { object.cast::<u64>().write(0) };
}
