//! Changes the numbers of the frames that a batch will free.
//! refused: E0506 cannot assign to `buffer[_]` because it is borrowed
//! refused: E0594 cannot assign to data in a `&` reference
//! refused: E0616 field `buffer` of struct `FrameBatch` is private

use octopod::memory::FrameBatch;
use octopod::memory::frames::FrameNumber;

pub fn two_batches(buffer: &mut [FrameNumber]) {
    drop(FrameBatch::alloc(buffer));
    drop(FrameBatch::alloc(buffer));
}

#[cfg(attempt)]
pub fn in_the_buffer() {
    let mut buffer = [FrameNumber::new(0); 4];
    let batch = FrameBatch::alloc(&mut buffer);
    buffer[0] = FrameNumber::new(1);
    drop(batch);
}

#[cfg(attempt)]
pub fn in_the_batch(mut batch: FrameBatch<'_>) {
    batch.numbers()[0] = FrameNumber::new(1);
}

#[cfg(attempt)]
pub fn by_the_field(batch: FrameBatch<'_>) {
    batch.buffer[0] = FrameNumber::new(1);
}
