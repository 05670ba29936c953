//! Writes to a frame's memory after the frame was freed.
//! refused: E0505 cannot move out of `frame` because it is borrowed

use octopod::memory::OwnedFrame;

pub fn before(mut frame: OwnedFrame) {
    frame.zero()[0] = 1;
    drop(frame);
}

#[cfg(attempt)]
pub fn after(mut frame: OwnedFrame) {
    let bytes = frame.zero();
    drop(frame);
    bytes[0] = 1;
}
