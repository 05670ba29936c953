//! Detects a thread that does not return from a call of the allocator.

use std::fmt;

use octopod::stress::host::{Call, ThreadActivity};

/// A call that lasts for so many looks hangs. Between two looks lies at least a tick of the run's clock, in which the slowest
/// allocator ends its call.
pub(crate) const LOOKS: u32 = 50;

/// A thread that hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hang {
    thread: usize,
    call: Call,
    calls: u64,
}

impl fmt::Display for Hang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hang { thread, call, calls } = self;
        write!(f, "thread {thread} hangs in an {call}, its call number {calls}")
    }
}

/// Watches the threads of a run.
#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    last: Vec<ThreadActivity>,
    /// For each thread, the number of checks that found it in the same call.
    same: Vec<u32>,
}

impl Watchdog {
    /// Of a run that begins.
    pub(crate) fn new() -> Watchdog {
        Watchdog::default()
    }

    /// Checks what the threads do; returns the first that hangs.
    pub(crate) fn look(&mut self, threads: impl IntoIterator<Item = ThreadActivity>) -> Option<Hang> {
        let mut hang = None;
        for (thread, now) in threads.into_iter().enumerate() {
            if thread == self.last.len() {
                self.last.push(ThreadActivity { call: None, calls: 0 });
                self.same.push(0);
            }
            let is_same = now.call.is_some() && now == self.last[thread];
            self.same[thread] = if is_same { self.same[thread] + 1 } else { 0 };
            self.last[thread] = now;
            if self.same[thread] >= LOOKS && hang.is_none() {
                hang = now.call.map(|call| Hang { thread, call, calls: now.calls });
            }
        }
        hang
    }

    /// Each thread's calls at the last check.
    pub(crate) fn calls(&self) -> Vec<u64> {
        self.last.iter().map(|thread| thread.calls).collect()
    }

    /// The calls of the threads at the last check, as text.
    pub(crate) fn doing(&self) -> String {
        doing(&self.last)
    }
}

/// The calls of threads, as text.
pub(crate) fn doing(threads: &[ThreadActivity]) -> String {
    let in_words = |(thread, now): (usize, ThreadActivity)| match now.call {
        Some(call) => format!("thread {thread} in call {} ({call})", now.calls),
        None => format!("thread {thread} after call {}", now.calls),
    };
    let mut words: Vec<_> = threads.iter().copied().enumerate().map(in_words).collect();
    if words.is_empty() {
        return "its begin".to_owned();
    }
    let more = words.len().saturating_sub(4);
    words.truncate(4);
    if more > 0 {
        words.push(format!("{more} more"));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;
    use std::time::Duration;

    use octopod::memory::frames::{FrameNumber, FreeError, Order};
    use octopod::memory::source::{AllocContext, FrameSource};
    use octopod::stress::allocators::OCTOPOD;
    use octopod::stress::host::{Activity, Bound, HostRun, LentFrames};
    use octopod::stress::workloads::PAIRS;

    use super::*;

    /// An allocator without frames, whose calls return only when the test allows it.
    struct Hanging {
        until: std::sync::Mutex<Receiver<()>>,
    }

    impl FrameSource for Hanging {
        fn alloc(&self, _: &mut AllocContext, _: Order) -> Option<FrameNumber> {
            let _ = self.until.lock().unwrap().recv();
            None
        }

        unsafe fn free(&self, _: &mut AllocContext, _: FrameNumber, _: Order) -> Result<(), FreeError> {
            Ok(())
        }

        fn drain(&self, _: &mut AllocContext) {}

        fn free_frames(&self) -> usize {
            0
        }
    }

    #[test]
    fn an_allocator_that_hangs_is_named_with_its_thread_and_its_call() {
        let activity = Activity::new(1);
        let (end, until) = channel();
        let run = HostRun {
            allocator: &OCTOPOD,
            workload: &PAIRS,
            threads: 1,
            blocks: 1,
            bound: Bound::Time(Duration::ZERO),
            seed: 1,
            trace: None,
            check_every_frame: false,
            largest_order: Order::MAX,
        };
        let mut watchdog = Watchdog::new();
        let hang = thread::scope(|scope| {
            let source = Hanging { until: std::sync::Mutex::new(until) };
            let activity = &activity;
            scope.spawn(move || run.run_on_watched(LentFrames::new(&[]), &source, activity));
            // It gets there, and from then on each look finds it there.
            let hang = loop {
                match watchdog.look(activity.threads()) {
                    Some(hang) => break hang,
                    None => thread::yield_now(),
                }
            };
            drop(end);
            hang
        });
        assert_eq!(hang.thread, 0);
        assert_eq!(hang.to_string(), "thread 0 hangs in an alloc of order 0, its call number 1");
    }
}
