//! Keeps a range beside its parts, and parts beside the range that they were merged into.
//! refused: E0382 use of moved value: `range`
//! refused: E0382 use of moved value: `next`

use octopod::memory::FrameRange;

pub fn parts(range: FrameRange) -> (FrameRange, FrameRange) {
    range.split_at(1)
}

#[cfg(attempt)]
pub fn range_and_parts(range: FrameRange) -> (FrameRange, (FrameRange, FrameRange)) {
    let parts = range.split_at(1);
    (range, parts)
}

#[cfg(attempt)]
pub fn part_and_whole(range: FrameRange, next: FrameRange) {
    let whole = range.merge(next);
    drop(next);
    drop(whole);
}
