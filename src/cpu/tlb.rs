//! TLB flushes on this CPU (SDM Vol. 3A, 4.10.4.1).

use x86_64::VirtAddr;
use x86_64::instructions::tlb;

use super::PAGE_BYTES;
use crate::patchable;

patchable! {
    /// Flushes `pages` pages from `address` on, or all non-global entries if `pages` is above `most`. A flush of one page
    /// takes some hundred cycles. A load of CR3 takes less than many of these, but all later accesses walk the page
    /// tables again.
    ///
    /// **Context:** any.
    pub(crate) fn flush(address: u64, pages: usize, most: usize) {
        if pages > most {
            tlb::flush_all();
            return;
        }
        for page in 0..pages as u64 {
            tlb::flush(VirtAddr::new(address + page * PAGE_BYTES as u64));
        }
    }
}
