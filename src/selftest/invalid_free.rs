//! What is given back wrongly is refused, the reason is the right one, and nothing has changed: in every build, where frames
//! reach the block table. Single frames get there in batches, so they are given back as one here.

use core::fmt;

use crate::boot::image;
use crate::config::IPI_CALL_TIMEOUT_MS;
use crate::cpu::IrqGuard;
use crate::memory;
use crate::memory::frames::{FrameNumber, FreeError, Invalid, Order};

const PAIR: Order = Order::new(1).expect("there are more orders than that");
const TWO_BLOCKS: Order = Order::new(10).expect("there are more orders than that");

/// More frames than a magazine takes in one call.
const BATCH: usize = 40;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no memory to try with.
    OutOfMemory,
    /// Something was not refused, or for another reason.
    Answer {
        /// What was tried.
        what: &'static str,
        /// The answer.
        got: Result<(), FreeError>,
    },
    /// The allocator's books are wrong after that.
    Books(Invalid),
    /// Other frames are free than were before.
    Frames {
        /// How many were free before.
        before: usize,
        /// How many are after.
        after: usize,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::OutOfMemory => f.write_str("no memory to begin with"),
            Failure::Answer { what, got: Ok(()) } => write!(f, "{what} was not refused"),
            Failure::Answer { what, got: Err(error) } => write!(f, "{what} had the answer: {error}"),
            Failure::Books(invalid) => invalid.fmt(f),
            Failure::Frames { before, after } => {
                write!(f, "{before} frames were free before and {after} after")
            }
        }
    }
}

/// Runs the part. Only the boot processor calls this, with interrupts on, when all CPUs wait for work.
///
/// # Errors
/// The first failure.
pub fn run(_: u32) -> Result<(), Failure> {
    let before = free_frames();
    freed_twice()?;
    foreign()?;
    of_another_size()?;
    let after = free_frames();
    if before != after {
        return Err(Failure::Frames { before, after });
    }
    let _guard = IrqGuard::new();
    memory::frames().validate().map_err(Failure::Books)?;
    log::info!("all invalid frees were rejected");
    Ok(())
}

fn free_frames() -> usize {
    super::on_each_cpu(IPI_CALL_TIMEOUT_MS, &|_| memory::drain_this_cpu(&IrqGuard::new()));
    let _guard = IrqGuard::new();
    memory::frames().free_frames()
}

fn take(order: Order) -> Result<FrameNumber, Failure> {
    memory::alloc(order).ok_or(Failure::OutOfMemory)
}

/// Frees frames that this part has allocated and not freed, or for which the allocator's answer is known to be a refusal.
fn free(frame: FrameNumber, order: Order) -> Result<(), FreeError> {
    // SAFETY: in the first case the part owns the frames and does not use their memory. In the second nothing is freed; if
    // something is, the answer is not the expected one, and the part fails.
    unsafe { memory::free(frame, order) }
}

fn expect(
    what: &'static str,
    got: Result<(), FreeError>,
    expected: Result<(), FreeError>,
) -> Result<(), Failure> {
    if got == expected { Ok(()) } else { Err(Failure::Answer { what, got }) }
}

fn freed_twice() -> Result<(), Failure> {
    for (what, order) in [("a run freed twice", PAIR), ("a block freed twice", Order::BLOCK)] {
        let frame = take(order)?;
        expect("a free", free(frame, order), Ok(()))?;
        expect(what, free(frame, order), Err(FreeError::DoubleFree { frame }))?;
    }
    let frame = take(Order::FRAME)?;
    // SAFETY: the frame is this part's own and is freed once; the other frees of it are to be refused.
    let got = unsafe { memory::free_bulk(&[frame; BATCH]) };
    expect("a frame freed many times in one call", got, Err(FreeError::DoubleFree { frame }))
}

fn foreign() -> Result<(), Failure> {
    let own = FrameNumber::containing(image::text().start as usize);
    let own = if own.get().is_multiple_of(2) { own } else { own + 1 };
    let beyond = memory::frames().end() + (1 << 20);
    for (what, frame) in [("a free of the kernel's own code", own), ("a free of what is no memory", beyond)] {
        expect(what, free(frame, PAIR), Err(FreeError::NotManaged { frame }))?;
    }
    Ok(())
}

fn of_another_size() -> Result<(), Failure> {
    let frame = take(PAIR)?;
    let (odd, order) = (frame + 1, PAIR);
    expect("a free from the middle on", free(odd, order), Err(FreeError::Misaligned { frame: odd, order }))?;
    expect("a free", free(frame, PAIR), Ok(()))?;
    // One of two neighbours, which others have not: the larger run would begin there.
    let frame = take(TWO_BLOCKS)?;
    expect("a free of one half", free(frame + Order::BLOCK.frames(), Order::BLOCK), Ok(()))?;
    // Now the first half was handed out at order 10 and is of order 9.
    let wrong = FreeError::WrongOrder { frame, given: TWO_BLOCKS, at_most: Order::BLOCK };
    expect("a free of more than there is", free(frame, TWO_BLOCKS), Err(wrong))?;
    expect("a free", free(frame, Order::BLOCK), Ok(()))
}
