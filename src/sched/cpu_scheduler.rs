//! What each CPU has for the scheduler: its run queue, its inbox, and what it does.

use alloc::boxed::Box;
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::backlog::Backlog;
use super::entity::Runnable;
use super::notes::Measured;
use super::notice::{Attention, Notice};
use super::policy::RunQueue;
use super::tcb::Tcb;
use crate::cpu::CpuId;
use crate::cpu::thread::Thread as Header;
use crate::sync::SpinLock;
use crate::wire::LeaveReason;

/// What is behind a CPU's queue lock.
pub(crate) struct Queue {
    /// The policy's part. `None` until the scheduler starts on this CPU.
    pub(crate) policy: Option<Box<dyn RunQueue>>,
    /// The time up to which the running thread is charged.
    pub(crate) charged_ns: u64,
}

/// The context of the thread that a CPU runs when it has no other: its own, which is never queued.
pub(crate) struct OwnThread {
    pub(crate) saved_rsp: Cell<u64>,
    pub(crate) header: Cell<*const Header>,
}

/// A CPU's part of the scheduler.
pub(crate) struct CpuScheduler {
    pub(crate) queue: SpinLock<Queue>,
    /// The threads that wait. Others read it to find a CPU to steal from.
    pub(crate) backlog: Backlog,
    pub(crate) notice: Notice,
    /// Whether an interrupt could not be sent after which the CPU chooses again.
    pub(crate) has_missed: AtomicBool,
    /// Whether the CPU's own thread has something to do, and so runs before all others. Only the CPU uses it.
    pub(crate) is_own_due: Cell<bool>,
    /// Whether the CPU was claimed to steal a thread, and has not looked for it yet. Only the CPU uses it.
    pub(crate) is_claimed: Cell<bool>,
    /// The time for which the slice timer was last set. Only the CPU uses it.
    pub(crate) slice_end_ns: Cell<u64>,
    /// The CPU's own thread. Only the CPU uses it.
    pub(crate) own: OwnThread,
    /// The thread that the CPU is switching away from, if something remains to be done with it. Only the CPU uses it.
    pub(crate) previous: Cell<Option<&'static Tcb>>,
    /// How often a CPU did what: it adds to them itself, others read them.
    pub(crate) counts: SwitchCounts,
    /// When the scheduler has started on this CPU.
    pub(crate) started_ns: AtomicU64,
    /// What the CPU measures while it records all events.
    pub(crate) measured: Measured,
}

/// What a CPU leaves, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// A thread.
    Thread(LeaveReason),
    /// Its own thread.
    Own,
}

impl Left {
    const COUNT: usize = LeaveReason::ALL.len() + 1;

    /// Returns its place among the counts.
    #[inline(always)]
    pub(crate) const fn index(self) -> usize {
        match self {
            Left::Thread(reason) => reason as usize,
            Left::Own => Left::COUNT - 1,
        }
    }
}

impl SwitchCounts {
    /// Returns how often the CPU has left this.
    pub(crate) fn left(&self, left: Left) -> u64 {
        self.left[left.index()].load(Ordering::Relaxed)
    }

    /// Returns the number of all switches.
    pub(crate) fn switches(&self) -> u64 {
        self.left.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// How often a CPU did what.
#[derive(Debug)]
pub(crate) struct SwitchCounts {
    /// Switches, by what the CPU has left and why: see [`Left`].
    pub(crate) left: [AtomicU64; Left::COUNT],
    /// Threads taken from other CPUs' queues.
    pub(crate) stolen: AtomicU64,
    /// Interrupts of other CPUs.
    pub(crate) notices: AtomicU64,
    /// Interrupts at the end of a slice.
    pub(crate) slices: AtomicU64,
}

// SAFETY: `is_own_due`, `is_claimed`, `slice_end_ns`, `own` and `previous` are used by the CPU that they belong to only, with interrupts off (`mechanism`). The
// rest is atomics and a lock.
unsafe impl Sync for CpuScheduler {}

// SAFETY: the pointers are those of threads that any CPU may run.
unsafe impl Send for CpuScheduler {}

impl CpuScheduler {
    pub(crate) const fn new() -> CpuScheduler {
        CpuScheduler {
            queue: SpinLock::new(Queue { policy: None, charged_ns: 0 }),
            backlog: Backlog::new(),
            notice: Notice::new(),
            has_missed: AtomicBool::new(false),
            is_own_due: Cell::new(false),
            is_claimed: Cell::new(false),
            slice_end_ns: Cell::new(0),
            own: OwnThread { saved_rsp: Cell::new(0), header: Cell::new(core::ptr::null()) },
            previous: Cell::new(None),
            counts: SwitchCounts {
                left: [const { AtomicU64::new(0) }; Left::COUNT],
                stolen: AtomicU64::new(0),
                notices: AtomicU64::new(0),
                slices: AtomicU64::new(0),
            },
            started_ns: AtomicU64::new(0),
            measured: Measured::new(),
        }
    }

    /// Takes what [`Notice::set`](super::notice::Notice::set) has returned.
    #[inline(always)]
    pub(crate) fn note_claim(&self, was: Attention) {
        if was == Attention::Claimed {
            self.is_claimed.set(true);
        }
    }
}

/// Returns the time since `charged_ns`, for which the running thread is not charged yet. `charged_ns` becomes `now_ns`.
#[inline(always)]
pub(crate) fn charge(charged_ns: &mut u64, now_ns: u64) -> u64 {
    let ran_ns = now_ns.saturating_sub(*charged_ns);
    *charged_ns = now_ns;
    ran_ns
}

/// Adds one to a count of this CPU.
#[inline(always)]
pub(crate) fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// Notes the CPU on which a thread runs next.
#[inline(always)]
pub(crate) fn note_cpu(thread: &mut Runnable, cpu: CpuId) {
    thread.scheduled_mut().last_cpu = cpu;
}
