//! A page of zeros, the way this processor writes it fastest.

use core::mem::MaybeUninit;

use super::PAGE_BYTES;
use crate::redirect;

/// A page's content.
pub type Page = [u8; PAGE_BYTES];

redirect! {
    /// Fills a page with zeros: by `rep stosb` where the processor has fast string operations for bytes (ERMS, CPUID
    /// 7:EBX.9; Intel Optimization Manual, 3.7.6), else by `rep stosq`. Interrupts may be on or off; never waits.
    pub fn zero_page(page: &mut MaybeUninit<Page>) = zero_by_quadwords => zero_by_bytes, if |features| features.erms;
}

/// [`zero_page`] on any processor.
pub extern "C" fn zero_by_quadwords(page: &mut MaybeUninit<Page>) {
    // SAFETY: the page is borrowed for writing, all of it; the direction flag is clear wherever Rust runs.
    unsafe {
        core::arch::asm!("rep stosq", inout("rdi") page.as_mut_ptr() => _, inout("rcx") PAGE_BYTES / 8 => _,
            in("rax") 0, options(nostack, preserves_flags));
    }
}

/// [`zero_page`] on a processor with ERMS.
pub extern "C" fn zero_by_bytes(page: &mut MaybeUninit<Page>) {
    // SAFETY: `&mut` borrows all `PAGE_BYTES` of the page, and any bytes may be written to a `MaybeUninit`; the direction flag is
    // clear wherever Rust runs.
    unsafe {
        core::arch::asm!("rep stosb", inout("rdi") page.as_mut_ptr() => _, inout("rcx") PAGE_BYTES => _,
            in("al") 0u8, options(nostack, preserves_flags));
    }
}
