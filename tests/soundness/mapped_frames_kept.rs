//! Keeps frames that were mapped, and so could be freed under the mapping.
//! refused: E0382 borrow of moved value: `frames`

use octopod::memory::{self, FrameBatch, Mapping};

pub fn mapped(frames: FrameBatch<'_>) -> Option<Mapping> {
    memory::vmap(frames).ok()
}

#[cfg(attempt)]
pub fn mapped_and_freed(mut frames: FrameBatch<'_>) -> Option<Mapping> {
    let mapping = memory::vmap(frames).ok();
    drop(frames.pop());
    mapping
}
