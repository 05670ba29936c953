//! What a CPU has asked of the frame allocator, counted where that costs nothing: never on the way of a single frame
//! through the magazine, and by one instruction elsewhere.

use core::sync::atomic::AtomicU64;

use crate::per_cpu;

per_cpu! {
    /// Times that an empty magazine was refilled.
    pub static REFILLS: AtomicU64 = AtomicU64::new(0);
    /// Times that a full one was flushed.
    pub static FLUSHES: AtomicU64 = AtomicU64::new(0);
    /// Times that all was given back that the CPU kept.
    pub static DRAINS: AtomicU64 = AtomicU64::new(0);
    /// Requests that got nothing.
    pub static FAILURES: AtomicU64 = AtomicU64::new(0);
    /// Requests for orders 1 to 8.
    pub static RUN_ALLOCS: AtomicU64 = AtomicU64::new(0);
    /// Runs of orders 1 to 8 given back.
    pub static RUN_FREES: AtomicU64 = AtomicU64::new(0);
    /// Requests for orders 9 and above.
    pub static BLOCK_ALLOCS: AtomicU64 = AtomicU64::new(0);
    /// Those given back.
    pub static BLOCK_FREES: AtomicU64 = AtomicU64::new(0);
    /// Single frames taken in bulk.
    pub static BULK_ALLOCS: AtomicU64 = AtomicU64::new(0);
    /// Single frames given back in bulk.
    pub static BULK_FREES: AtomicU64 = AtomicU64::new(0);
    /// Requests that named a zone or a node.
    pub static PLACED_ALLOCS: AtomicU64 = AtomicU64::new(0);
}
