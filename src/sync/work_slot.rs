//! One CPU's part in work for all CPUs: the lock-free part of `smp::on_each_cpu`. It compiles on any host, where tests
//! and models run it.
//!
//! The *owner* of the work offers it to each participant. A participant takes it and runs it, or the owner withdraws it
//! after a time-out. Work that was taken cannot be withdrawn: it may use what it borrows from its owner until it is
//! finished, or until the CPU has failed and never runs again.

use super::atomics::{AtomicU32, Ordering};
use super::hotplug::{CpuHotplug, HotplugState};

/// The state of a CPU's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Phase {
    /// The CPU has no work, or has finished it.
    Idle,
    /// The owner offers work.
    Offered,
    /// The CPU runs the work.
    Running,
}

use Phase::*;

impl Phase {
    const fn of(number: u32) -> Phase {
        match number {
            1 => Offered,
            2 => Running,
            _ => Idle,
        }
    }

    /// The owner offers work.
    pub(crate) const fn offer(self) -> Option<Phase> {
        if matches!(self, Idle) { Some(Offered) } else { None }
    }

    /// The owner withdraws the work, which the participant has not taken.
    pub(crate) const fn withdraw(self) -> Option<Phase> {
        if matches!(self, Offered) { Some(Idle) } else { None }
    }

    /// The participant takes the work.
    pub(crate) const fn take(self) -> Option<Phase> {
        if matches!(self, Offered) { Some(Running) } else { None }
    }

    /// The participant finishes: it no longer uses what the work borrows.
    pub(crate) const fn finish(self) -> Option<Phase> {
        if matches!(self, Running) { Some(Idle) } else { None }
    }
}

/// A CPU's part, shared by the owner of the work and the CPU.
#[derive(Debug)]
pub(crate) struct WorkSlot(AtomicU32);

impl WorkSlot {
    /// Creates a slot without work.
    #[allow(clippy::new_without_default, reason = "atomics under loom have no const default")]
    pub(crate) fn new() -> WorkSlot {
        WorkSlot(AtomicU32::new(Idle as u32))
    }

    /// Returns the phase.
    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        Phase::of(self.0.load(Ordering::Acquire))
    }

    /// Returns whether the phase is [`Phase::Idle`]: a single comparison.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.0.load(Ordering::Acquire) == Idle as u32
    }

    /// Makes a transition. Returns whether it was possible.
    pub(crate) fn apply(&self, change: fn(Phase) -> Option<Phase>) -> bool {
        let mut number = self.0.load(Ordering::Acquire);
        while let Some(next) = change(Phase::of(number)) {
            match self.0.compare_exchange(number, next as u32, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => number = now,
            }
        }
        false
    }

    /// Returns whether the CPU no longer uses what the work borrows: it has finished, or it has failed in a restart
    /// before it ran any code of the kernel.
    pub(crate) fn is_over(&self, hotplug: &CpuHotplug) -> bool {
        self.phase() == Idle || hotplug.state() == HotplugState::Failed
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn work_is_offered_once_and_taken_or_withdrawn() {
        type Change = fn(Phase) -> Option<Phase>;
        let changes: [(Change, Phase, Phase); 4] = [
            (Phase::offer, Idle, Offered),
            (Phase::withdraw, Offered, Idle),
            (Phase::take, Offered, Running),
            (Phase::finish, Running, Idle),
        ];
        for (change, from, to) in changes {
            for phase in [Idle, Offered, Running] {
                assert_eq!(change(phase), (phase == from).then_some(to));
            }
        }
    }
}
