//! The page attribute table (PAT): the memory type for each of the eight PAT indices of page-table entries.

/// The MSR (SDM Vol. 4, table 2-2).
#[cfg(target_os = "none")]
pub(super) const IA32_PAT: u32 = 0x277;

/// Its value after reset (SDM Vol. 3A, table 12-12): write-back, write-through, UC-, UC, and the same again.
pub(crate) const AT_RESET: u64 = 0x0007_0406_0007_0406;

/// Its value on every CPU of the kernel. Entries 0 to 3 keep their reset values, so page-table entries without the PAT bit keep
/// their memory type and the change needs no TLB flush. Entry 5 is write-combining, for a frame buffer.
pub(crate) const KERNEL: u64 = 0x0007_0106_0007_0406;
