//! The kernel's page tables: one tree for all CPUs, behind a lock.

use super::tables::PageTables;
use crate::sync::SpinLockIrq;

/// The kernel's page tables. `None` until `memory::init` has built them.
static TABLES: SpinLockIrq<Option<PageTables>> = SpinLockIrq::new(None);
crate::name_lock!(TABLES);

/// The kernel's page tables, once there are any.
pub(in crate::memory) fn tables() -> &'static SpinLockIrq<Option<PageTables>> {
    &TABLES
}

/// The physical address of the kernel's root table, as CR3 takes it; 0 before [`init`](crate::memory::init()).
///
/// **Context:** thread or interrupt context; waits for the lock of the page tables.
pub fn root() -> u64 {
    TABLES.lock().as_ref().map_or(0, PageTables::root)
}
