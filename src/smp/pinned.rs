//! Threads that may run on no other CPU than the one that goes offline.

use core::fmt;

use crate::cpu::ThreadName;

/// What happens to threads that may run on no other CPU than the one that goes offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// They keep their affinity, so the CPU stays online: [`OfflineError::Pinned`](super::hotplug::OfflineError::Pinned).
    Keep,
    /// They lose it, and move to other CPUs. Each is reported by a warning, and the report has their number.
    Break,
}

/// A thread that may run on no other CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PinnedThread {
    id: u64,
    name: ThreadName,
}

/// Such threads of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinnedThreads {
    /// How many.
    pub count: u32,
    /// The one that was spawned first.
    pub first: PinnedThread,
}

impl PinnedThread {
    pub(crate) fn new(id: u64, name: ThreadName) -> PinnedThread {
        PinnedThread { id, name }
    }

    /// Returns the thread's number: that of its [`ThreadId`](crate::thread::ThreadId).
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the thread's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }
}

impl fmt::Display for PinnedThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {} {:?}", self.id, self.name())
    }
}

impl fmt::Debug for PinnedThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PinnedThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            0 | 1 => fmt::Display::fmt(&self.first, f),
            count => write!(f, "{count} threads, {} the first of them,", self.first),
        }
    }
}
