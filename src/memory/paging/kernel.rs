//! The kernel's page tables: one tree for all CPUs, behind a lock.

use core::sync::atomic::Ordering;

use super::tables::{PageTables, entry_of};
#[cfg(feature = "selftest")]
use super::walk::Access;
#[cfg(feature = "shell")]
use super::walk::Translation;
#[cfg(any(feature = "selftest", feature = "shell"))]
use super::walk::translate;
use crate::cpu::ControlRegisters;
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
pub(crate) fn root() -> u64 {
    TABLES.lock().as_ref().map_or(0, PageTables::root)
}

/// Calls `f` with the page tables that this CPU uses: the physical address of the root, the page attribute table, and a
/// function that reads the entry of a table. Holds the lock of the page tables meanwhile, so that they stay as they are.
///
/// **Context:** thread or interrupt context.
pub(in crate::memory) fn with_live_tables<R>(f: impl FnOnce(u64, u64, &dyn Fn(u64, usize) -> u64) -> R) -> R {
    let controls = ControlRegisters::read();
    let _tables = TABLES.lock();
    f(controls.cr3 & ControlRegisters::CR3_ADDRESS, controls.pat, &|table, index| {
        // SAFETY: `table` is the root or a table to which an entry of the live tree leads, because the callers are `walk` and
        // `audit`. `PageTables` never frees a table, and its lock, held here, keeps the entries as they are.
        unsafe { entry_of(table, index) }.load(Ordering::Relaxed)
    })
}

/// The rights of a page by the page tables that this CPU uses, and its size in bytes. `None` if nothing is mapped there.
///
/// **Context:** thread or interrupt context; waits for the lock of the page tables.
#[cfg(feature = "selftest")]
pub(crate) fn access_at(address: u64) -> Option<(Access, u64)> {
    let page = with_live_tables(|root, pat, read_entry| translate(root, address, pat, &read_entry)).page?;
    Some((page.access, page.bytes))
}

/// Translates an address by the page tables that this CPU uses.
///
/// **Context:** thread or interrupt context; waits for the lock of the page tables.
#[cfg(feature = "shell")]
pub(crate) fn translate_live(address: u64) -> Translation {
    with_live_tables(|root, pat, read_entry| translate(root, address, pat, &read_entry))
}
