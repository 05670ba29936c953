//! The direct map: physical address `p` is mapped at [`base`]` + p`. The kernel's image is a part of it.
//!
//! rt0 randomises the base at each boot (KASLR). The base is a multiple of 1 GiB, so that large pages can be used. rt0's early
//! tables map the first 4 GiB. The final tables map all memory of the memory map.

use crate::cpu::UPPER_HALF;

/// The size of the direct map's address range, in bytes, for any base.
pub const MAX_PHYSICAL: u64 = 1 << 46;

/// The end of the physical memory that rt0's early tables map.
pub const EARLY_LIMIT: u64 = 1 << 32;

/// Offset from the base to the first address above the direct map: addresses from there on are free for other mappings.
pub const VMAP_OFFSET: u64 = 0x5000_0000_0000;

/// The highest base that rt0 can choose.
const MAX_BASE: u64 = UPPER_HALF + (1 << 45);

// Mappings above the direct map must not wrap around, even with the highest base.
const _: () = assert!(MAX_PHYSICAL <= VMAP_OFFSET && MAX_BASE.checked_add(VMAP_OFFSET + (1 << 40)).is_some());

/// Returns the virtual address of physical address 0.
#[inline]
pub fn base() -> u64 {
    super::handoff().direct_map_base
}

/// Returns the virtual address of a physical address.
#[inline]
pub fn virt(physical: u64) -> u64 {
    base() + physical
}

/// Returns a pointer to a physical address.
pub fn pointer<T>(physical: u64) -> *mut T {
    core::ptr::with_exposed_provenance_mut(virt(physical) as usize)
}

/// Returns the physical address of a virtual address in the direct map.
pub fn phys(virt: u64) -> u64 {
    virt - base()
}
