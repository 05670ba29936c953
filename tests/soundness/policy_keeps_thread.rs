//! Keeps a thread in a policy, which could give it out again when another CPU runs it.
//! refused: lifetime may not live long enough
//! refused: E0507 cannot move out of dereference of `LentThread<'_>`

use octopod::scheduler::{CpuId, DispatchPolicy, Enqueue, LentThread, Place};

pub struct Keeper<'a>(pub Option<&'a mut LentThread<'a>>);

pub struct Plain;

impl DispatchPolicy for Plain {
    const NAME: &str = "plain";
    const SUMMARY: &str = "";

    fn new(_: CpuId) -> Plain {
        Plain
    }

    fn enqueue(&mut self, _: &mut LentThread<'_>, _: Enqueue, _: u64) -> Place {
        Place::Back(0)
    }
}

#[cfg(attempt)]
impl DispatchPolicy for Keeper<'static> {
    const NAME: &str = "keeper";
    const SUMMARY: &str = "";

    fn new(_: CpuId) -> Keeper<'static> {
        Keeper(None)
    }

    fn enqueue(&mut self, thread: &mut LentThread<'_>, _: Enqueue, _: u64) -> Place {
        self.0 = Some(thread);
        Place::Back(0)
    }
}

#[cfg(attempt)]
pub fn taken(thread: &mut LentThread<'_>) -> octopod::scheduler::Runnable {
    **thread
}
