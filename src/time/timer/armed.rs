//! Lists a CPU's armed timers, for the shell.

use super::QUEUE;
use crate::cpu::per_cpu::PerCpu;

/// An armed timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ArmedTimer {
    /// The deadline, in nanoseconds of [`now_ns`](crate::time::now_ns).
    pub deadline_ns: u64,
    /// The period in nanoseconds; 0 for a timer that expires once.
    pub period_ns: u64,
    /// The address of the callback.
    pub callback: usize,
}

/// Fills `first` with the earliest timers of the CPU with this GS base, in ascending order of their deadlines. Returns the
/// number of that CPU's timers.
///
/// **Context:** any but NMI. Holds the queue's lock.
///
/// # Safety
/// As for [`PerCpu::of`]: `gs_base` is that of a per-CPU area that is never freed.
pub(crate) unsafe fn armed_timers(gs_base: usize, first: &mut [ArmedTimer]) -> usize {
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    let queue = unsafe { QUEUE.of(gs_base) }.lock();
    let mut found = 0;
    for (deadline_ns, timer) in queue.heap.iter() {
        let armed = ArmedTimer { deadline_ns, period_ns: timer.period_ns, callback: timer.callback as usize };
        // Insert it into the sorted prefix, behind timers with the same deadline; the last one is dropped if `first` is full.
        let position =
            first[..found].iter().position(|other| other.deadline_ns > deadline_ns).unwrap_or(found);
        if position < first.len() {
            found = (found + 1).min(first.len());
            first[position..found].rotate_right(1);
            first[position] = armed;
        }
    }
    queue.heap.len()
}
