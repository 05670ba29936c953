//! Layer 9: the self-test. It checks properties of the kernel that only the machine can show. `work=selftest` runs its parts
//! one after the other, each on every CPU. `selftest.parts=` selects some.
//!
//! To add a part, write a module with a function `run(rounds: u32) -> CheckResult` that uses the helpers of `check.rs`, and add a line
//! to `parts!`.

use core::fmt;

use crate::boot::command_line::{Bounded, NameList, Named};
use crate::parameters;

#[cfg(all(target_os = "none", feature = "selftest"))]
mod check;
#[cfg(all(target_os = "none", feature = "selftest"))]
mod nmis;
#[cfg(all(target_os = "none", feature = "selftest"))]
mod runner;

#[cfg(all(target_os = "none", feature = "faults"))]
pub use vectors::faults::arm as arm_clobber;

#[cfg(all(target_os = "none", feature = "selftest"))]
pub use check::SelfTestError;
#[cfg(all(target_os = "none", feature = "selftest"))]
pub use runner::run;

/// The largest value of `selftest.rounds`.
const MAX_ROUNDS: u32 = 1_000_000_000;

/// A part of the self-test.
pub struct Part {
    /// Its name, on the command line and in reports; also that of its module.
    pub name: &'static str,
    /// Its purpose, in one sentence.
    pub summary: &'static str,
    /// Runs it, with that many rounds in all if it has rounds.
    #[cfg(all(target_os = "none", feature = "selftest"))]
    run: fn(rounds: u32) -> check::CheckResult,
}

/// Declares the modules of all parts, and lists the parts in the order in which they run.
macro_rules! parts {
    ($($(#[doc = $summary:literal])* $name:ident,)*) => {
        $(
            #[cfg(all(target_os = "none", feature = "selftest"))]
            mod $name;
        )*

        /// All parts, in the order in which they run.
        const ALL: &[&Part] = &[$(
            &Part {
                name: stringify!($name),
                summary: concat!($($summary),*),
                #[cfg(all(target_os = "none", feature = "selftest"))]
                run: $name::run,
            },
        )*];
    };
}

parts! {
    /// The time never goes back, on any CPU.
    clock,
    /// Timers expire once, and not too early.
    timers,
    /// Every interrupt vector is delivered, and no register of the interrupted code changes.
    vectors,
    /// A page is zeroed to its last byte and no further.
    zeroing,
    /// Frames come from the nearest node that has free ones, and from the requested zone.
    zones,
    /// All CPUs call each other.
    calls,
    /// An allocation with interrupts off does not wait, and one in an NMI handler fails.
    contexts,
    /// Owning handles of frames and mappings free what they own, once.
    handles,
    /// A backtrace has the caller of a function that is interrupted where it has no frame.
    backtraces,
    /// Invalid frees are rejected.
    invalid_free,
    /// CPUs go offline and come back while all of them work.
    hotplug,
    /// The serial port's interrupt reaches every CPU, which receives and sends.
    serial,
    /// No line of the log is torn, and each line that is dropped is counted.
    log,
    /// No CPU reads through a stale entry of its TLB.
    shootdown,
}

impl PartialEq for Part {
    fn eq(&self, other: &Part) -> bool {
        self.name == other.name
    }
}

impl Eq for Part {}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Named for &'static Part {
    fn all() -> &'static [&'static Part] {
        ALL
    }

    fn name(&self) -> &'static str {
        self.name
    }
}

/// Some of the parts.
pub type PartList = NameList<&'static Part, { ALL.len() }>;

parameters! {
    /// The parameters of the self-test.
    pub struct SelfTestParameters {
        /// The parts, in this order.
        pub parts: PartList = PartList::of(ALL.iter().copied()), "selftest.parts";
        /// The rounds of each part that has rounds, all CPUs together.
        pub rounds: Bounded<1, MAX_ROUNDS> = Bounded::new(1000).expect("within bounds"), "selftest.rounds";
    }
}
