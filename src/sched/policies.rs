//! The policies that are built in.

use alloc::boxed::Box;
use core::fmt;

use super::entity::Runnable;
use super::fair::Fair;
use super::policy::{Placement, RunQueue, select_cpu};
#[cfg(any(not(target_os = "none"), feature = "selftest"))]
use super::random::Random;
use super::round_robin::RoundRobin;
use crate::boot::command_line::Named;
use crate::cpu::CpuId;
use crate::named_values;

/// A scheduling policy, as `scheduler=` on the command line selects it.
pub struct Policy {
    /// The name on the command line.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Whether each runnable thread runs after a bounded time. One that spins until another has run may spin for ever if not.
    pub is_fair: bool,
    /// Makes the run queue of a CPU. **Context:** thread.
    pub new_queue: fn(CpuId) -> Box<dyn RunQueue>,
    /// Chooses the CPU for a thread that becomes runnable. **Context:** interrupts off; no lock is held.
    pub select_cpu: fn(&Runnable, &Placement) -> CpuId,
}

/// The policies that are built in; the first is the default.
pub(crate) const BUILT_IN: &[&Policy] = &[
    &Policy {
        name: Fair::NAME,
        summary: "Real-time threads by priority, then fair threads by weight (EEVDF).",
        is_fair: true,
        new_queue: |cpu| Box::new(Fair::queue(cpu)),
        select_cpu,
    },
    &Policy {
        name: RoundRobin::NAME,
        summary: "Threads take turns, a slice each, in the order in which they became runnable.",
        is_fair: true,
        new_queue: |cpu| Box::new(RoundRobin::queue(cpu)),
        select_cpu,
    },
    #[cfg(any(not(target_os = "none"), feature = "selftest"))]
    &Policy {
        name: Random::NAME,
        summary: "Answers at random, to test that no thread is lost under any policy.",
        is_fair: false,
        new_queue: |cpu| Box::new(Random::queue(cpu, Random::SEED)),
        select_cpu: Random::select_cpu,
    },
];

impl Named for &'static Policy {
    fn all() -> &'static [&'static Policy] {
        BUILT_IN
    }

    fn name(&self) -> &'static str {
        self.name
    }
}

named_values!(&'static Policy);

impl PartialEq for Policy {
    fn eq(&self, other: &Policy) -> bool {
        self.name == other.name
    }
}

impl Eq for Policy {}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
