//! This CPU's TLB: what it is to forget (SDM Vol. 3A, 4.10.4.1).

use x86_64::VirtAddr;
use x86_64::instructions::tlb;

use super::PAGE_BYTES;
use crate::redirectable;

redirectable! {
    /// Forgets so many pages from an address on, or all that are not global, if there are more than `most`: each page
    /// takes an instruction of some hundred cycles, and a reload of CR3 costs what has to be looked up again. Any context.
    pub fn forget(address: u64, pages: usize, most: usize) {
        if pages > most {
            tlb::flush_all();
            return;
        }
        for page in 0..pages as u64 {
            tlb::flush(VirtAddr::new(address + page * PAGE_BYTES as u64));
        }
    }
}
