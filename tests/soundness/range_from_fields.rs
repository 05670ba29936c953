//! Makes a range longer than the frames that it owns.
//! refused: E0451 fields `first` and `frames` of struct `FrameRange` are private

use octopod::memory::FrameRange;

pub fn length(range: &FrameRange) -> usize {
    range.frames()
}

#[cfg(attempt)]
pub fn made(range: &FrameRange) -> FrameRange {
    FrameRange { first: range.number(), frames: 2 }
}
