//! Pages and virtual addresses.

/// Bytes in a page, and in a frame of physical memory: the smallest unit of paging (SDM Vol. 3A, 4.2).
pub const PAGE_BYTES: usize = 4096;

/// The lowest address of the upper half with four-level paging (SDM Vol. 1, 3.3.7.1). The kernel is mapped in this half.
pub const UPPER_HALF: u64 = 0xffff_8000_0000_0000;
