//! A run that is held or was freed, in one word of a shared table.

use crate::memory::frames::{FrameNumber, Order};

/// The position of the rank, above the first frame plus one; 0 is no run.
const RANK_AT: u32 = 40;
/// The position of the order.
const ORDER_AT: u32 = 56;

/// The word of a run that the CPU with that rank has allocated; never 0.
pub(super) fn pack(frame: FrameNumber, order: Order, rank: usize) -> u64 {
    (frame.get() as u64 + 1) | (rank as u64) << RANK_AT | u64::from(order.get()) << ORDER_AT
}

/// The run of a word; `None` for 0 and for what is no run.
pub(super) fn unpack(word: u64) -> Option<(FrameNumber, Order, usize)> {
    let field = |low: u32, high: u32| (word & ((1 << high) - 1)) >> low;
    let frame = FrameNumber::new((field(0, RANK_AT) as usize).checked_sub(1)?);
    Some((frame, Order::new((word >> ORDER_AT) as u8)?, field(RANK_AT, ORDER_AT) as usize))
}
