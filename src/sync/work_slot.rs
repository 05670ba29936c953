//! One CPU's part in a piece of work for all CPUs: the lock-free half of `smp::run_on_all`. It compiles on any host, where
//! its models run.
//!
//! The CPU that has the work, its *owner*, offers it to each participant; a participant takes it and runs it, or the owner
//! withdraws what was not taken in time. Work that was taken cannot be withdrawn: it may use what it borrows from its owner
//! until it is finished, or until the CPU can never run again.

use super::atomics::{AtomicU32, Ordering};
use super::hotplug::{CpuHotplug, HotplugState};

/// How far a CPU is with its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Phase {
    /// It has none, or has finished it.
    Idle,
    /// It is offered one.
    Offered,
    /// It runs it.
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

    /// By the owner.
    pub const fn offer(self) -> Option<Phase> {
        if matches!(self, Idle) { Some(Offered) } else { None }
    }

    /// By the owner: the participant has not begun and never will.
    pub const fn withdraw(self) -> Option<Phase> {
        if matches!(self, Offered) { Some(Idle) } else { None }
    }

    /// By the participant.
    pub const fn take(self) -> Option<Phase> {
        if matches!(self, Offered) { Some(Running) } else { None }
    }

    /// By the participant: it uses nothing of the owner's any more.
    pub const fn finish(self) -> Option<Phase> {
        if matches!(self, Running) { Some(Idle) } else { None }
    }
}

/// A CPU's part, which its owner and the CPU share.
#[derive(Debug)]
pub struct WorkSlot(AtomicU32);

impl WorkSlot {
    /// One without work.
    #[allow(clippy::new_without_default, reason = "atomics under loom have no const default")]
    pub fn new() -> WorkSlot {
        WorkSlot(AtomicU32::new(Idle as u32))
    }

    /// The phase, as it is now.
    #[inline]
    pub fn phase(&self) -> Phase {
        Phase::of(self.0.load(Ordering::Acquire))
    }

    /// Makes a change of phase; whether it was possible.
    pub fn apply(&self, change: fn(Phase) -> Option<Phase>) -> bool {
        let mut number = self.0.load(Ordering::Acquire);
        while let Some(next) = change(Phase::of(number)) {
            match self.0.compare_exchange(number, next as u32, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => number = now,
            }
        }
        false
    }

    /// Whether the CPU uses nothing of the owner's any more: it has finished, or was restarted and given up before it came
    /// to anything of the kernel's.
    pub fn is_over(&self, hotplug: &CpuHotplug) -> bool {
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
