//! Records about memory.

use serde::{Deserialize, Serialize};

/// A region of physical memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Region<S> {
    /// Its first address. No physical address needs more than 52 bits, so a number will do.
    pub start: u64,
    /// One past its last address.
    pub end: u64,
    /// `usable`, or why it is not.
    pub owner: S,
}

/// What the walk of the live page tables counted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageTables {
    /// Frames that hold page tables.
    pub tables: u64,
    /// Executable pages: the kernel's code.
    pub text: Pages,
    /// Pages that can only be read.
    pub constants: Pages,
    /// Pages that can be written.
    pub data: Pages,
    /// Pages that are written past the caches.
    pub device: Pages,
    /// How long the walk took, in microseconds.
    pub walk_us: u64,
}

/// Pages of each size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pages {
    /// Of 4 KiB.
    pub small: u64,
    /// Of 2 MiB.
    pub large: u64,
    /// Of 1 GiB.
    pub huge: u64,
}

/// The frame allocator's books.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Frames (4 KiB) under the allocator's care.
    pub frames_total: u64,
    /// Bytes that the allocator's own tables take.
    pub metadata_bytes: u64,
    /// Free frames before the work.
    pub frames_free_before: u64,
}
