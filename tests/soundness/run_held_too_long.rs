//! Keeps a run beyond its workload, and frees it twice.
//! refused: lifetime may not live long enough
//! refused: E0382 use of moved value: `run`

use octopod::memory::frames::{FrameNumber, Order};
use octopod::stress::workloads::{HeldRun, Worker};

pub fn held<'a>(worker: &mut Worker<'a>) -> Option<(HeldRun<'a>, FrameNumber)> {
    worker.allocate(Order::FRAME).map(|run| {
        let frame = run.frame();
        (run, frame)
    })
}

#[cfg(attempt)]
pub fn kept(worker: &mut Worker<'_>, beyond: &mut Option<HeldRun<'static>>) {
    *beyond = worker.allocate(Order::FRAME);
}

#[cfg(attempt)]
pub fn freed_twice<'a>(worker: &mut Worker<'a>, run: HeldRun<'a>) {
    worker.free_held(run);
    worker.free_held(run);
}
