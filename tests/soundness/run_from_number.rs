//! Makes a run that a workload holds from the number of a frame.
//! refused: E0451 fields `frame`, `order` and `of_workload` of struct `HeldRun` are private

use octopod::memory::frames::FrameNumber;
use octopod::stress::workloads::HeldRun;

pub fn number(run: &HeldRun<'_>) -> FrameNumber {
    run.frame()
}

#[cfg(attempt)]
pub fn forged<'a>(frame: FrameNumber) -> HeldRun<'a> {
    let order = octopod::memory::frames::Order::FRAME;
    HeldRun { frame, order, of_workload: core::marker::PhantomData }
}
