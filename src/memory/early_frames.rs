//! Frames before the frame allocator: taken from the end of one usable range, never freed.

use crate::boot::memory_map::{FRAME_BYTES, MemoryMap, PhysRange, ReservedReason};

/// Allocates single frames below a limit: memory that rt0's tables map.
pub(crate) struct EarlyFrames {
    /// The rest of the range.
    free: PhysRange,
    /// The end of the range.
    end: u64,
}

impl EarlyFrames {
    /// An allocator over the largest usable range below `limit`; `None` if there is none.
    pub(crate) fn new(map: &MemoryMap, limit: u64) -> Option<EarlyFrames> {
        let whole_frames = |range: PhysRange| {
            let frames = PhysRange::new(range.start, range.end.min(limit)).whole_frames();
            PhysRange::new(frames.start * FRAME_BYTES, frames.end * FRAME_BYTES)
        };
        let free = map
            .usable()
            .map(whole_frames)
            .max_by_key(|range| range.len())
            .filter(|range| !range.is_empty())?;
        Some(EarlyFrames { free, end: free.end })
    }

    /// Allocates a frame; its physical address. Its content is unspecified.
    pub(crate) fn alloc(&mut self) -> Option<u64> {
        if self.free.is_empty() {
            return None;
        }
        self.free.end -= FRAME_BYTES;
        Some(self.free.end)
    }

    /// Reserves the allocated frames in the map, so that the frame allocator does not get them.
    pub(crate) fn finish(self, map: &mut MemoryMap) {
        let _ = map.reserve(PhysRange::new(self.free.end, self.end), ReservedReason::EarlyTables);
    }
}
