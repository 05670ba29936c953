//! Layer 10: the self-test. It checks properties of the kernel that only the machine can show. `work=selftest` runs its parts
//! one after the other, each on every CPU, then those that the program registers by [`self_test!`](crate::self_test!).
//! `selftest.parts=` selects some. A part returns a [`CheckResult`]; [`failed`] makes the error of a check that has failed.
//!
//! To add a part, write a module with a function `run(rounds: u32) -> CheckResult` that uses the helpers of `check.rs`, and add a line
//! to `parts!`.

use crate::boot::command_line::Named;

#[cfg(target_os = "none")]
mod check;
#[cfg(all(target_os = "none", feature = "selftest"))]
mod exhausted;
#[cfg(all(target_os = "none", feature = "selftest"))]
mod heap_frees;
#[cfg(all(target_os = "none", feature = "selftest"))]
mod nmis;
#[doc(hidden)]
pub mod parameters;
mod part;
mod registered;
#[cfg(all(target_os = "none", feature = "selftest"))]
mod runner;

#[cfg(all(target_os = "none", feature = "faults"))]
pub use vectors::faults::arm as arm_clobber;

#[cfg(target_os = "none")]
#[doc(hidden)]
pub use check::SelfTestError;
#[cfg(target_os = "none")]
pub use check::{CheckResult, Failed, failed};
#[doc(hidden)]
pub use part::Part;
#[cfg(not(target_os = "none"))]
#[doc(hidden)]
pub use registered::learn;
#[doc(hidden)]
pub use registered::{MAX_REGISTERED, SELF_TEST_NAMES, SELF_TESTS};
#[cfg(all(target_os = "none", feature = "selftest"))]
#[doc(hidden)]
pub use runner::run;

/// What runs a part: the same function in each, where the kernel has no self-test.
#[cfg(all(target_os = "none", not(feature = "selftest")))]
fn not_built_in(_: u32) -> CheckResult {
    unreachable!("the command line cannot select the self-test")
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
                #[cfg(all(target_os = "none", not(feature = "selftest")))]
                run: not_built_in,
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
    /// While memory is short, an allocation that fails makes no other CPU drain its cache.
    shortage,
    /// All CPUs call each other.
    calls,
    /// An allocation with interrupts off does not wait, and one in an NMI handler fails.
    contexts,
    /// Owning handles of frames and mappings free what they own, once.
    handles,
    /// Objects of the heap go from CPU to CPU unchanged, and every frame of the heap comes back.
    heap,
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
    /// Threads run on all CPUs, and every wake-up arrives.
    threads,
}

impl Named for &'static Part {
    fn all() -> &'static [&'static Part] {
        ALL
    }

    fn registered() -> &'static [&'static Part] {
        registered::registered()
    }

    fn name(&self) -> &'static str {
        self.name
    }
}
