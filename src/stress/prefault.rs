//! Prefaults guest memory. A host allocates a page of its guest at the guest's first write, which may take milliseconds.
//! Without this the first workload and allocator would be measured with that cost, and the others without.

use crate::boot::direct_map;
use crate::memory;
use crate::memory::frames::{FrameNumber, Order};

/// The most blocks that are written to: 1 GiB. A guest may have more memory than its host.
const MOST_BLOCKS: usize = 512;

/// Writes once to each free block of 2 MiB, up to [`MOST_BLOCKS`].
///
/// **Context:** thread, interrupts on; no other CPU allocates meanwhile.
pub(crate) fn free_blocks() {
    let mut last = None;
    for _ in 0..MOST_BLOCKS {
        let Some(block) = memory::alloc_nowait(Order::BLOCK) else { break };
        // SAFETY: the write must be to owned, mapped memory. The block was just allocated, and the direct map covers it.
        unsafe { link(block).write(last) };
        last = Some(block);
    }
    while let Some(block) = last {
        // SAFETY: the read must be of owned, initialised memory. The loop above allocated the block and wrote its link.
        last = unsafe { link(block).read() };
        // SAFETY: the caller must own the block. It was allocated above, and its link, its only content, has been read.
        if let Err(error) = unsafe { memory::free(block, Order::BLOCK) } {
            log::error!("{error}");
        }
    }
}

/// The address of a block's link to the block that was allocated before it.
fn link(block: FrameNumber) -> *mut Option<FrameNumber> {
    direct_map::pointer(block.address() as u64)
}
