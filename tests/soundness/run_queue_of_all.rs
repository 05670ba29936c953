//! Makes a policy whose queues give out threads of each other: a CPU would run a thread that another one has not left yet.
//! refused: E0200 the trait `octopod::sched::policy::RunQueue` requires an `unsafe impl` declaration

pub use octopod::sched::policy::RunQueue;

pub struct OneForAll;

pub fn allowed(queue: &dyn RunQueue) -> bool {
    queue.is_empty()
}

#[cfg(attempt)]
mod attempt {
    use octopod::cpu::CpuId;
    use octopod::sched::entity::Runnable;
    use octopod::sched::policy::{Enqueue, LentThread, RunQueue};

    impl RunQueue for super::OneForAll {
        fn enqueue(&mut self, _: Runnable, _: Enqueue, _: u64) {}

        fn pick_next(&mut self, _: u64) -> Option<Runnable> {
            None
        }

        fn charge(&mut self, _: &mut LentThread<'_>, _: u64) {}

        fn is_preempted(&self, _: &Runnable) -> bool {
            false
        }

        fn slice_ns(&self, _: &Runnable) -> Option<u64> {
            None
        }

        fn steal(&mut self, _: CpuId) -> Option<Runnable> {
            None
        }

        fn remove_any(&mut self) -> Option<Runnable> {
            None
        }

        fn len(&self) -> usize {
            0
        }
    }
}
