//! Sizes in the Multiboot 2 information that its errors name.

/// The size of the head before the first tag, in bytes: the minimum for `total_bytes`.
pub const HEAD_BYTES: usize = 8;

/// The size of a memory map entry of version 0, in bytes; later versions may append fields.
pub(super) const MEMORY_MAP_ENTRY_MIN: u32 = 24;
