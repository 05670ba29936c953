//! Checks that the block table rejects invalid frees with the right error, in every build, and that they change nothing. Single
//! frames reach the block table in batches, so they are freed by `free_bulk` here.

use super::check::{CheckResult, expect_free_frames, fail, failed, free_frames, send_facts, validate_frames};
use crate::boot::image;
use crate::memory;
use crate::memory::frames::{FrameNumber, FreeError, Order};

const PAIR: Order = Order::new(1).expect("there are more orders than that");
const TWO_BLOCKS: Order = Order::new(10).expect("there are more orders than that");

/// More frames than a magazine takes in one call.
const BATCH: usize = 40;

/// Runs the part.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// The first failed check.
pub(crate) fn run(_: u32) -> CheckResult {
    let before = free_frames()?;
    let rejected_before = memory::frames().double_frees_caught();
    freed_twice()?;
    not_managed()?;
    of_another_size()?;
    expect_free_frames(before, "invalid frees")?;
    validate_frames()?;
    let rejected = (memory::frames().double_frees_caught() - rejected_before) as u64;
    log::info!("all invalid frees rejected");
    send_facts("selftest.invalid_free", &[("rejected", rejected)]);
    Ok(())
}

fn take(order: Order) -> CheckResult<FrameNumber> {
    memory::alloc(order).ok_or_else(|| failed(format_args!("invalid_free: out of memory")))
}

/// Frees frames that this part has allocated and not freed, or that the allocator must reject.
fn free(frame: FrameNumber, order: Order) -> Result<(), FreeError> {
    // SAFETY: the frames must be allocated, and their memory unused. In the first case the part owns them and does not use their
    // memory. In the second nothing is freed; if something is, `expect` fails the part.
    unsafe { memory::free(frame, order) }
}

fn expect(free: &str, outcome: Result<(), FreeError>, expected: Result<(), FreeError>) -> CheckResult {
    match outcome {
        _ if outcome == expected => Ok(()),
        Ok(()) => fail!("{free} was not rejected"),
        Err(error) => fail!("{free} had the result: {error}"),
    }
}

fn freed_twice() -> CheckResult {
    for (what, order) in [("a pair freed twice", PAIR), ("a block freed twice", Order::BLOCK)] {
        let frame = take(order)?;
        expect("a free", free(frame, order), Ok(()))?;
        expect(what, free(frame, order), Err(FreeError::DoubleFree { frame }))?;
    }
    let frame = take(Order::FRAME)?;
    // SAFETY: the frame must be allocated, and its memory unused. `take` has allocated it for this part. The first free ends the
    // allocation; the allocator must reject the others.
    let outcome = unsafe { memory::free_bulk(&[frame; BATCH]) };
    expect("a frame freed many times in one call", outcome, Err(FreeError::DoubleFree { frame }))
}

fn not_managed() -> CheckResult {
    let own = FrameNumber::containing(image::text().start as usize);
    let own = if own.get().is_multiple_of(2) { own } else { own + 1 };
    let beyond = memory::frames().end() + (1 << 20);
    for (what, frame) in
        [("a free of the kernel's own code", own), ("a free beyond the end of memory", beyond)]
    {
        expect(what, free(frame, PAIR), Err(FreeError::NotManaged { frame }))?;
    }
    Ok(())
}

fn of_another_size() -> CheckResult {
    let frame = take(PAIR)?;
    let (odd, order) = (frame + 1, PAIR);
    expect("a misaligned free", free(odd, order), Err(FreeError::Misaligned { frame: odd, order }))?;
    expect("a free", free(frame, PAIR), Ok(()))?;
    // The order of the allocation is larger than what is left of it.
    let frame = take(TWO_BLOCKS)?;
    expect("a free of the upper half", free(frame + Order::BLOCK.frames(), Order::BLOCK), Ok(()))?;
    let wrong = FreeError::WrongOrder { frame, given: TWO_BLOCKS, at_most: Order::BLOCK };
    expect("a free of more than is allocated", free(frame, TWO_BLOCKS), Err(wrong))?;
    expect("a free", free(frame, Order::BLOCK), Ok(()))
}
