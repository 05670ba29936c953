//! The work of a run on the host, as it is watched: parts, and the events of each.

use std::time::Duration;

use octopod::memory::frames::Order;
use octopod::stress::host::ThreadActivity;
use octopod::stress::host::program::PartResult;
use octopod::stress::subject::Subject;
use octopod::stress::workloads::Workload;

use crate::base::text::count;
use crate::base::{Error, Observer};

/// A block of the allocator's.
pub(crate) const BLOCK_BYTES: usize = 2 << 20;

/// One workload on one allocator or heap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) threads: usize,
    pub(crate) subject: Subject,
    pub(crate) workload: &'static Workload,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {} with {}", self.workload, self.subject, count(self.threads, "thread"))
    }
}

/// The settings of all parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The size of memory, in blocks.
    pub(crate) blocks: usize,
    /// The time of each part.
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    pub(crate) check_every_frame: bool,
    pub(crate) largest_order: Order,
}

/// An event of the work.
#[derive(Debug)]
pub(crate) enum Event {
    /// The part with this index begins.
    Begins(u32, Part),
    /// The activity of the threads of the present part.
    Threads(Vec<ThreadActivity>),
    /// The part has ended.
    Ended(Part, Box<PartResult>),
    /// The part has ended without a result.
    Broke(String),
    /// The wait is over, or a signal has come.
    Nothing,
}

/// Work that is done elsewhere. It ends, at the latest with this process, when the value is dropped.
pub(crate) trait Work {
    /// The next event, at the latest after `wait`.
    ///
    /// # Errors
    /// The next part cannot be started; a signal.
    fn next(&mut self, wait: Duration, observer: &mut dyn Observer) -> Result<Event, Error>;

    /// The command that repeats the last part that has begun, which may have ended; `None` if no command does.
    fn by_hand(&self) -> Option<String> {
        None
    }
}
