//! The first touch of memory. A host gives its guest a page when that first writes to it, which may take it milliseconds:
//! whichever workload and allocator came first would pay for all that are compared with it.

use crate::boot::direct_map;
use crate::memory;
use crate::memory::frames::{FrameNumber, Order};

/// A guest may have more memory than its host, as long as it does not touch it; so at most 1 GiB is touched.
const MOST_BLOCKS: usize = 512;

/// Writes once to each free block of 2 MiB, as many as a host is likely to give at once, up to [`MOST_BLOCKS`]. Interrupts are
/// on; nobody else allocates meanwhile.
pub fn free_blocks() {
    let mut last = None;
    for _ in 0..MOST_BLOCKS {
        let Some(block) = memory::alloc_nowait(Order::BLOCK) else { break };
        // SAFETY: the block is this function's own.
        unsafe { link(block).write(last) };
        last = Some(block);
    }
    while let Some(block) = last {
        // SAFETY: the block is this function's own since the loop above, which wrote its link.
        last = unsafe { link(block).read() };
        // SAFETY: the block was allocated above, and its link, which was its only use, has been read.
        if let Err(error) = unsafe { memory::free(block, Order::BLOCK) } {
            log::error!("{error}");
        }
    }
}

/// Where a block's first bytes say which was taken before it.
fn link(block: FrameNumber) -> *mut Option<FrameNumber> {
    direct_map::pointer(block.address() as u64)
}
