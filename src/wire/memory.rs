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

/// How many orders a record counts: 0 to 18, the frame allocator's.
pub const ORDERS: usize = 19;

/// What a NUMA node has of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ZoneCounts<S> {
    /// Whether this is after the work, or before.
    pub after: bool,
    /// The node.
    pub node: u32,
    /// `low`, below 1 MiB and up to the end of that block of 2 MiB; `dma32`, what else is below 4 GiB; `normal`, above.
    pub zone: S,
    /// Frames under the allocator's care.
    pub frames_total: u64,
    /// Free frames, without those that CPUs cache.
    #[serde(alias = "frames_free")]
    pub free_frames: u64,
    /// The free ones by the largest order at which they could be allocated.
    pub free_by_order: [u64; ORDERS],
}

/// What a CPU has asked of the frame allocator. Single frames that its magazine served are not counted; each refill and each
/// flush stands for some dozens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FrameCounts {
    /// The CPU.
    pub cpu: u32,
    /// Its node.
    pub node: u32,
    /// Times that its empty magazine was refilled.
    pub refills: u64,
    /// Times that its full magazine was flushed.
    pub flushes: u64,
    /// Times that it gave back all that it kept.
    pub drains: u64,
    /// Requests that got nothing.
    pub failures: u64,
    /// Requests for orders 1 to 8.
    pub run_allocs: u64,
    /// Runs of these given back.
    pub run_frees: u64,
    /// Requests for orders 9 and above.
    pub block_allocs: u64,
    /// Runs of these given back.
    pub block_frees: u64,
    /// Single frames taken in bulk.
    pub bulk_allocs: u64,
    /// Single frames given back in bulk.
    pub bulk_frees: u64,
    /// Requests that named a zone or a node.
    pub placed_allocs: u64,
}

/// The frame allocator's counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Frames (4 KiB) under the allocator's care.
    pub frames_total: u64,
    /// Bytes that the allocator's own tables take.
    pub metadata_bytes: u64,
    /// Free frames before the work.
    #[serde(alias = "frames_free_before")]
    pub free_frames_before: u64,
}
