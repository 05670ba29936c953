//! Frames before there is a frame allocator: taken from the end of one usable range, never given back.

use crate::boot::memory_map::{FRAME_BYTES, MemoryMap, PhysRange, ReservedReason};

/// Hands out single frames below a limit: what rt0's tables map.
pub struct EarlyFrames {
    /// What is left of the range.
    free: PhysRange,
    /// Where the range ended.
    end: u64,
}

impl EarlyFrames {
    /// Chooses the largest usable range below `limit`.
    pub fn new(map: &MemoryMap, limit: u64) -> Option<EarlyFrames> {
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

    /// A frame's physical address. Its content is whatever was there.
    pub fn alloc(&mut self) -> Option<u64> {
        if self.free.is_empty() {
            return None;
        }
        self.free.end -= FRAME_BYTES;
        Some(self.free.end)
    }

    /// Takes what was handed out away from the map, so that the frame allocator never sees it.
    pub fn finish(self, map: &mut MemoryMap) {
        let _ = map.reserve(PhysRange::new(self.free.end, self.end), ReservedReason::EarlyTables);
    }
}
