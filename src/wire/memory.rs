//! Records of memory.

use serde::{Deserialize, Serialize};

/// A region of physical memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryRegion<S> {
    /// The first address. A JSON number suffices, because physical addresses have at most 52 bits.
    pub start: u64,
    /// The end (exclusive).
    pub end: u64,
    /// `usable`, or the reason why the region is not usable.
    pub owner: S,
}

/// The counts of the page-table audit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageTables {
    /// Frames that hold page tables.
    pub tables: u64,
    /// Executable pages.
    pub text: Pages,
    /// Read-only pages.
    pub constants: Pages,
    /// Writable pages.
    pub data: Pages,
    /// Uncached pages.
    pub device: Pages,
    /// The duration of the audit, in microseconds.
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

/// The number of orders of the frame allocator: 0 to 18.
pub const ORDERS: usize = 19;

/// The free frames of a node's zone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ZoneCounts<S> {
    /// Whether the counts are from after the work or from before it.
    pub after: bool,
    /// The node.
    pub node: u32,
    /// `low`, below 1 MiB and up to the end of that block of 2 MiB; `dma32`, what else is below 4 GiB; `normal`, above.
    pub zone: S,
    /// Frames that the allocator manages.
    pub frames_total: u64,
    /// Free frames, without frames in per-CPU caches.
    #[serde(alias = "frames_free")]
    pub free_frames: u64,
    /// The free frames by the largest order at which they could be allocated.
    pub free_by_order: [u64; ORDERS],
}

/// A CPU's calls of the frame allocator. Single frames from and to its magazine are not counted; a refill or a flush moves
/// some dozens of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FrameCounts {
    /// The CPU.
    pub cpu: u32,
    /// Its node.
    pub node: u32,
    /// Refills of its empty magazine.
    pub refills: u64,
    /// Flushes of its full magazine.
    pub flushes: u64,
    /// Drains of its cache.
    pub drains: u64,
    /// Failed allocations.
    pub failures: u64,
    /// Allocations of orders 1 to 8.
    pub run_allocs: u64,
    /// Frees of orders 1 to 8.
    pub run_frees: u64,
    /// Allocations of orders 9 and above.
    pub block_allocs: u64,
    /// Frees of orders 9 and above.
    pub block_frees: u64,
    /// Single frames allocated in bulk.
    pub bulk_allocs: u64,
    /// Single frames freed in bulk.
    pub bulk_frees: u64,
    /// Allocations from a given zone or node.
    pub placed_allocs: u64,
}

/// The frame allocator's memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Frames (4 KiB) that the allocator manages.
    pub frames_total: u64,
    /// The size of the allocator's tables, in bytes.
    pub metadata_bytes: u64,
    /// Free frames before the work.
    #[serde(alias = "frames_free_before")]
    pub free_frames_before: u64,
}
