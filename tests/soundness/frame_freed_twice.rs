//! Frees a frame twice by a copy of its handle.
//! refused: E0382 use of moved value: `frame`

use octopod::memory::OwnedFrame;

pub fn once(frame: OwnedFrame) {
    drop(frame);
}

#[cfg(attempt)]
pub fn twice(frame: OwnedFrame) {
    drop(frame);
    drop(frame);
}
