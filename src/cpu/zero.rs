//! Zeroing of pages by the fastest instruction that the processor has.

use core::mem::MaybeUninit;

use super::PAGE_BYTES;
use crate::static_call;

/// The content of a page.
pub type Page = [u8; PAGE_BYTES];

static_call! {
    /// Fills a page with zeros: by `rep stosb` if the processor has fast string operations for bytes (ERMS, CPUID
    /// 7:EBX.9; Intel Optimization Manual, 3.7.6), otherwise by `rep stosq`.
    ///
    /// **Context:** any. Never waits.
    pub fn zero_page(page: &mut MaybeUninit<Page>) = zero_by_quadwords => zero_by_bytes, if |features| features.erms;
}

/// Implements [`zero_page`] on any processor.
pub(crate) extern "C" fn zero_by_quadwords(page: &mut MaybeUninit<Page>) {
    // SAFETY: `&mut` borrows all `PAGE_BYTES` of the page for writing. The direction flag is clear in all Rust code.
    unsafe {
        core::arch::asm!("rep stosq", inout("rdi") page.as_mut_ptr() => _, inout("rcx") PAGE_BYTES / 8 => _,
            in("rax") 0, options(nostack, preserves_flags));
    }
}

/// Implements [`zero_page`] on a processor with ERMS.
pub(crate) extern "C" fn zero_by_bytes(page: &mut MaybeUninit<Page>) {
    // SAFETY: `&mut` borrows all `PAGE_BYTES` of the page, and any bytes may be written to a `MaybeUninit`. The direction
    // flag is clear in all Rust code.
    unsafe {
        core::arch::asm!("rep stosb", inout("rdi") page.as_mut_ptr() => _, inout("rcx") PAGE_BYTES => _,
            in("al") 0u8, options(nostack, preserves_flags));
    }
}
