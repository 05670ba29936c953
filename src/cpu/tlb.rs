//! TLB flushes on this CPU (SDM Vol. 3A, 4.10.4.1).

use crate::patchable;

patchable! {
    /// Flushes all entries that are not global, by a load of CR3, and the paging-structure caches. Only the pages of mappings are not
    /// global.
    ///
    /// **Context:** any.
    pub(crate) fn flush_all() {
        x86_64::instructions::tlb::flush_all();
    }
}
