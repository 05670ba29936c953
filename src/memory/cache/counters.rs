//! Event counts of the frame allocator, per CPU. A single frame that the magazine serves is not counted; every other event costs one
//! instruction.

use core::sync::atomic::AtomicU64;

use crate::per_cpu;

per_cpu! {
    /// Refills of the empty magazine.
    pub(crate) static REFILLS: AtomicU64 = AtomicU64::new(0);
    /// Flushes of the full magazine.
    pub(crate) static FLUSHES: AtomicU64 = AtomicU64::new(0);
    /// Drains of the cache.
    pub(crate) static DRAINS: AtomicU64 = AtomicU64::new(0);
    /// Failed allocations.
    pub(crate) static FAILURES: AtomicU64 = AtomicU64::new(0);
    /// Allocations of orders 1 to 8.
    pub(crate) static RUN_ALLOCS: AtomicU64 = AtomicU64::new(0);
    /// Frees of orders 1 to 8.
    pub(crate) static RUN_FREES: AtomicU64 = AtomicU64::new(0);
    /// Allocations of orders 9 and above.
    pub(crate) static BLOCK_ALLOCS: AtomicU64 = AtomicU64::new(0);
    /// Frees of orders 9 and above.
    pub(crate) static BLOCK_FREES: AtomicU64 = AtomicU64::new(0);
    /// Frames allocated in bulk.
    pub(crate) static BULK_ALLOCS: AtomicU64 = AtomicU64::new(0);
    /// Frames freed in bulk.
    pub(crate) static BULK_FREES: AtomicU64 = AtomicU64::new(0);
    /// Allocations that name a zone type or a node.
    pub(crate) static PLACED_ALLOCS: AtomicU64 = AtomicU64::new(0);
}
