//! What is noted of CPUs and threads, for reports: [`observe`](super::observe) adds to most of it while all events are recorded.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::trace;
use crate::wire::SCHED_BUCKETS;

/// What a CPU measures while it records all events.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(super) latency: [AtomicU64; SCHED_BUCKETS],
    /// The greatest latency.
    pub(super) longest_ns: AtomicU64,
    pub(super) depth: [AtomicU64; SCHED_BUCKETS],
    /// When the CPU has switched last.
    pub(super) switched_ns: AtomicU64,
    /// Whether the CPU runs its own thread.
    pub(super) runs_own: AtomicBool,
    /// How long the CPU's own thread has run, up to the last switch.
    pub(super) own_ns: AtomicU64,
}

impl Measured {
    pub(super) const fn new() -> Measured {
        Measured {
            latency: [const { AtomicU64::new(0) }; SCHED_BUCKETS],
            longest_ns: AtomicU64::new(0),
            depth: [const { AtomicU64::new(0) }; SCHED_BUCKETS],
            switched_ns: AtomicU64::new(0),
            runs_own: AtomicBool::new(true),
            own_ns: AtomicU64::new(0),
        }
    }

    /// The scheduler starts on the CPU. **Context:** the CPU.
    pub(super) fn start(&self, now_ns: u64, runs_own: bool) {
        self.switched_ns.store(now_ns, Ordering::Relaxed);
        self.runs_own.store(runs_own, Ordering::Relaxed);
    }

    /// Returns whether the CPU runs its own thread, and for how long it has run what it runs. **Context:** any; the CPU may switch meanwhile.
    pub(super) fn current(&self, now_ns: u64) -> (bool, u64) {
        let since_ns = now_ns.saturating_sub(self.switched_ns.load(Ordering::Relaxed));
        (self.runs_own.load(Ordering::Relaxed), since_ns)
    }

    /// Returns the numbers of wake-ups by their latency. **Context:** any; the counts may be old.
    pub(crate) fn latencies(&self) -> [u32; SCHED_BUCKETS] {
        self.latency.each_ref().map(number)
    }

    /// Returns the greatest latency of a wake-up. **Context:** any.
    pub(crate) fn longest_ns(&self) -> u64 {
        self.longest_ns.load(Ordering::Relaxed)
    }

    /// Returns the numbers of switches by the depth of the queue. **Context:** any; the counts may be old.
    pub(crate) fn depths(&self) -> [u32; SCHED_BUCKETS] {
        self.depth.each_ref().map(number)
    }
}

fn number(count: &AtomicU64) -> u32 {
    u32::try_from(count.load(Ordering::Relaxed)).unwrap_or(u32::MAX)
}

/// What is noted of a thread.
#[derive(Debug)]
pub(crate) struct Notes {
    /// How long CPUs have run it. The CPU that leaves it adds to it, while all events are recorded.
    pub(super) ran_ns: AtomicU64,
    /// When it was woken, while it is on a queue and events are recorded; else 0.
    pub(super) woken_ns: AtomicU64,
}

impl Notes {
    pub(super) const fn new() -> Notes {
        Notes { ran_ns: AtomicU64::new(0), woken_ns: AtomicU64::new(0) }
    }

    /// Returns how long CPUs have run it, up to the last time that one has left it; `None` unless all events are recorded. **Context:** any.
    pub(super) fn ran_ns(&self) -> Option<u64> {
        trace::records_hot_events().then(|| self.ran_ns.load(Ordering::Relaxed))
    }
}
