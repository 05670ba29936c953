//! A look at any CPU's timers.

use super::QUEUE;
use crate::cpu::per_cpu::PerCpu;

/// An armed timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Armed {
    /// When it is due, in nanoseconds as [`now_ns`](crate::time::now_ns) counts them.
    pub deadline_ns: u64,
    /// Its period; 0 for one that expires once.
    pub period_ns: u64,
    /// What it calls.
    pub callback: usize,
}

/// Fills `first` with the timers that are due first, of the CPU with that GS base, in their order; how many timers that CPU
/// has. Holds its queue's lock; not from an NMI.
///
/// # Safety
/// As for [`PerCpu::of`].
pub unsafe fn look(gs_base: usize, first: &mut [Armed]) -> usize {
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    let queue = unsafe { QUEUE.of(gs_base) }.lock();
    let mut found = 0;
    for (deadline_ns, timer) in queue.heap.iter() {
        let armed = Armed { deadline_ns, period_ns: timer.period_ns, callback: timer.callback as usize };
        // Among those found so far, behind all that are due no later; the last one makes room.
        let place = first[..found].iter().position(|other| other.deadline_ns > deadline_ns).unwrap_or(found);
        if place < first.len() {
            found = (found + 1).min(first.len());
            first[place..found].rotate_right(1);
            first[place] = armed;
        }
    }
    queue.heap.len()
}
