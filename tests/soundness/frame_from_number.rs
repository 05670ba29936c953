//! Makes a second owner of a frame out of its number.
//! refused: E0133 call to unsafe function `OwnedFrame::from_raw` is unsafe
//! refused: E0133 call to unsafe function `FrameRange::from_raw` is unsafe
//! refused: E0423 cannot initialize a tuple struct which contains private fields

use octopod::memory::{FrameRange, OwnedFrame};

pub fn owners(frame: OwnedFrame) -> FrameRange {
    frame.into()
}

#[cfg(attempt)]
pub fn by_function(frame: &OwnedFrame) -> (OwnedFrame, FrameRange) {
    (OwnedFrame::from_raw(frame.number()), FrameRange::from_raw(frame.number(), 1))
}

#[cfg(attempt)]
pub fn by_field(frame: &OwnedFrame) -> OwnedFrame {
    OwnedFrame(frame.number())
}
