//! The policies: those that are built in, and those that a program registers.

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
use crate::registry::Header;

#[cfg(not(target_os = "none"))]
extern crate std;

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
    &ROUND_ROBIN,
    #[cfg(any(not(target_os = "none"), feature = "selftest"))]
    &Policy {
        name: Random::NAME,
        summary: "Answers at random, to test that no thread is lost under any policy.",
        is_fair: false,
        new_queue: |cpu| Box::new(Random::queue(cpu, Random::SEED)),
        select_cpu: Random::select_cpu,
    },
];

const ROUND_ROBIN: Policy = Policy {
    name: RoundRobin::NAME,
    summary: "Threads take turns, a slice each, in the order in which they became runnable.",
    is_fair: true,
    new_queue: |cpu| Box::new(RoundRobin::queue(cpu)),
    select_cpu,
};

/// Policies that the program registers: see [`scheduler!`](crate::scheduler!).
#[linkme::distributed_slice]
#[doc(hidden)]
pub static SCHEDULERS: [&'static Policy];

/// The most policies that a program can register.
pub const MAX_REGISTERED: usize = 8;

/// The most policies that a list can name.
pub const MOST: usize = BUILT_IN.len() + MAX_REGISTERED;

/// Their names, for the launcher.
#[linkme::distributed_slice]
#[doc(hidden)]
pub static SCHEDULER_NAMES: [Header];

/// The policies of a kernel's file, whose names the launcher has read.
#[cfg(not(target_os = "none"))]
static LEARNED: std::sync::OnceLock<std::vec::Vec<&'static Policy>> = std::sync::OnceLock::new();

/// Makes the policies of a kernel's file known, each by name and purpose, so that command lines can name them. Only the first call has an
/// effect.
#[cfg(not(target_os = "none"))]
pub fn learn(names: impl IntoIterator<Item = (std::string::String, std::string::String)>) {
    let policy = |(name, summary): (std::string::String, std::string::String)| -> &'static Policy {
        let named = Policy { name: name.leak(), summary: summary.leak(), ..ROUND_ROBIN };
        Box::leak(Box::new(named))
    };
    LEARNED.get_or_init(|| names.into_iter().map(policy).collect());
}

impl Named for &'static Policy {
    fn all() -> &'static [&'static Policy] {
        BUILT_IN
    }

    #[cfg(target_os = "none")]
    fn registered() -> &'static [&'static Policy] {
        &SCHEDULERS
    }

    #[cfg(not(target_os = "none"))]
    fn registered() -> &'static [&'static Policy] {
        // Miri has no linker, which makes the list.
        let own: &[_] = if cfg!(miri) { &[] } else { &SCHEDULERS };
        LEARNED.get().map_or(own, |learned| learned)
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
