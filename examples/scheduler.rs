//! A kernel with a scheduling policy of its own: a thread that uses its whole slice sinks to a lower queue, as in a multi-level
//! feedback queue. `cargo run -- run --example scheduler --smp 4 --append scheduler=feedback`
#![no_std]
#![no_main]

use octopod::prelude::*;
use octopod::scheduler::*;
use octopod::thread;

octopod::program!(main);
octopod::scheduler!(Feedback);

const LEVELS: u64 = 4;
const SLICE_NS: u64 = 1_000_000;

struct Feedback;

impl DispatchPolicy for Feedback {
    const NAME: &str = "feedback";
    const SUMMARY: &str =
        "Threads that use their whole slice sink to a lower queue, and rise when they wait.";
    const QUEUES: usize = LEVELS as usize;

    fn new(_: CpuId) -> Feedback {
        Feedback
    }

    fn enqueue(&mut self, thread: &mut LentThread<'_>, reason: Enqueue, _: u64) -> Place {
        let words = thread.words_mut();
        let used_all = words.slice_left_ns == 0;
        // `deadline` is a number of the policy: here the level.
        words.deadline = match reason {
            Enqueue::Preempted | Enqueue::Yielded if used_all => (words.deadline + 1).min(LEVELS - 1),
            Enqueue::Woken => words.deadline.saturating_sub(1),
            Enqueue::New => 0,
            _ => words.deadline,
        };
        words.slice_left_ns = SLICE_NS << words.deadline;
        Place::Back(words.deadline as usize)
    }

    fn charge(&mut self, running: &mut LentThread<'_>, ran_ns: u64) {
        let words = running.words_mut();
        words.slice_left_ns = words.slice_left_ns.saturating_sub(ran_ns);
    }

    fn is_preempted(&self, queues: &Queues, running: &Runnable) -> bool {
        let is_higher = queues.first_queue().is_some_and(|queue| (queue as u64) < running.words().deadline);
        is_higher || running.words().slice_left_ns == 0
    }

    fn slice_ns(&self, _: &Queues, running: &Runnable) -> Option<u64> {
        Some(running.words().slice_left_ns)
    }
}

fn main(_: &Machine) -> Result<(), Reason> {
    let sums: Vec<_> = (0..32_u64).map(|n| thread::spawn(move || (0..1000 * n).sum::<u64>())).collect();
    let total: u64 = sums.into_iter().map(thread::JoinHandle::join).sum();
    log::info!("32 threads have ended, their sums add up to {total}");
    Ok(())
}
