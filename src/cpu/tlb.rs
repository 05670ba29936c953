//! Flushes this CPU's TLB (SDM Vol. 3A, 4.10.4.1).

use x86_64::VirtAddr;
use x86_64::instructions::tlb;

use super::PAGE_BYTES;
use crate::redirectable;

redirectable! {
    /// Flushes `pages` pages from an address on, or all that are not global, if there are more than `most`. Each page takes an
    /// instruction of some hundred cycles; a load of CR3 makes later accesses walk the page tables again.
    ///
    /// **Context:** any.
    pub fn flush(address: u64, pages: usize, most: usize) {
        if pages > most {
            tlb::flush_all();
            return;
        }
        for page in 0..pages as u64 {
            tlb::flush(VirtAddr::new(address + page * PAGE_BYTES as u64));
        }
    }
}
