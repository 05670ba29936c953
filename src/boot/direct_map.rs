//! The direct map: all of physical memory, in order, from [`PAGE_OFFSET`] on. The kernel's own image is a part of it.
//!
//! rt0's early tables map the first 4 GiB; the final ones map what the memory map calls memory, wherever it lies.

/// Where physical address 0 is seen. The lowest address of the upper half.
pub const PAGE_OFFSET: u64 = 0xffff_8000_0000_0000;

/// How much the direct map has room for: half of what the upper half of four-level paging holds.
pub const MAX_PHYSICAL: u64 = 1 << 46;

/// How much of it rt0's early tables map.
pub const EARLY_LIMIT: u64 = 1 << 32;

/// Where a physical address is seen.
pub const fn virt(physical: u64) -> u64 {
    PAGE_OFFSET + physical
}

/// A pointer to what lies at a physical address.
pub fn pointer<T>(physical: u64) -> *mut T {
    core::ptr::with_exposed_provenance_mut(virt(physical) as usize)
}

/// The physical address behind one in the direct map.
pub const fn phys(virt: u64) -> u64 {
    virt - PAGE_OFFSET
}
