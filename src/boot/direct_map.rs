//! The direct map: all of physical memory, in order, from [`base`] on. The kernel's own image is a part of it.
//!
//! rt0 draws the base at each boot, a multiple of 1 GiB, so that neither is found where it was the time before; large
//! pages need no finer alignment. rt0's early tables map the first 4 GiB; the final ones map what the memory map calls
//! memory, wherever it lies.

use crate::cpu::UPPER_HALF;

/// How much the direct map has room for, whatever its base.
pub const MAX_PHYSICAL: u64 = 1 << 46;

/// How much of it rt0's early tables map.
pub const EARLY_LIMIT: u64 = 1 << 32;

/// Above the base by this much the direct map cannot reach: room for what has addresses of its own.
pub const BEYOND: u64 = 0x5000_0000_0000;

/// The highest base that rt0 draws.
const MAX_BASE: u64 = UPPER_HALF + (1 << 45);

// What lies beyond the direct map must not wrap around, even over the highest base.
const _: () = assert!(MAX_PHYSICAL <= BEYOND && MAX_BASE.checked_add(BEYOND + (1 << 40)).is_some());

/// Where physical address 0 is seen.
#[inline]
pub fn base() -> u64 {
    super::handoff().direct_map_base
}

/// Where a physical address is seen.
#[inline]
pub fn virt(physical: u64) -> u64 {
    base() + physical
}

/// A pointer to what lies at a physical address.
pub fn pointer<T>(physical: u64) -> *mut T {
    core::ptr::with_exposed_provenance_mut(virt(physical) as usize)
}

/// The physical address behind one in the direct map.
pub fn phys(virt: u64) -> u64 {
    virt - base()
}
