//! Frames of the kernel that a heap under test works on.

use core::ptr::NonNull;

use super::heap::HeapArena;
use super::heap::arena::MOST_BYTES;
use crate::memory::frames::{FRAME_BYTES, Order};
use crate::memory::{self, FrameRange};

/// The frames of an arena. Freed when dropped.
pub(crate) struct ArenaFrames(FrameRange);

impl ArenaFrames {
    /// Allocates contiguous frames: up to half of the free ones, and at most [`MOST_BYTES`]. `None` if there are none.
    ///
    /// **Context:** thread; no other CPU allocates meanwhile.
    pub(crate) fn take() -> Option<ArenaFrames> {
        let most = (memory::frames().free_frames() / 2).min(MOST_BYTES / FRAME_BYTES);
        let largest = most.checked_ilog2()? as u8;
        (0..=largest).rev().filter_map(Order::new).find_map(FrameRange::alloc).map(ArenaFrames)
    }

    /// The arena, for a heap that that many CPUs use.
    pub(crate) fn lend(&mut self, cpus: usize) -> HeapArena<'_> {
        let start = NonNull::new(self.0.as_ptr()).expect("the direct map does not contain address 0");
        // SAFETY: the memory must be valid and used for nothing else. The frames are this value's, which is borrowed mutably as
        // long as the arena exists, and the direct map contains them.
        unsafe { HeapArena::new(start, self.0.bytes(), cpus) }
    }
}
