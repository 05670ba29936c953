//! Layer 7: what time it is, timers, and waits with an end.
//!
//! The TSC is the clock ([`now_ns`]), unless it turns out that it cannot be trusted ([`decide`]). CPUID or the hypervisor
//! tell its frequency, or it is measured against a timer whose frequency is known (`reference`); [`calibration`] holds the
//! arithmetic. The APIC timer is measured in the same windows. On it each CPU runs a queue of timers ([`timer`], ordered by
//! [`heap`]): there is no tick, so a CPU that waits for nothing takes no interrupt. [`halt_until`] waits for a condition or
//! a deadline on one of them.

pub(crate) mod calibration;
pub(crate) mod heap;
pub mod parameters;

#[cfg(target_os = "none")]
mod clock;
#[cfg(target_os = "none")]
mod fallback;
#[cfg(all(target_os = "none", feature = "faults"))]
pub(crate) mod faults;
#[cfg(target_os = "none")]
mod now;
#[cfg(target_os = "none")]
mod reference;
#[cfg(target_os = "none")]
pub mod timer;
#[cfg(target_os = "none")]
mod trust;
#[cfg(target_os = "none")]
mod wait;
#[cfg(target_os = "none")]
mod warp;

#[cfg(target_os = "none")]
pub(crate) use clock::{Clock, Source, init};
#[cfg(target_os = "none")]
pub use now::{now_ns, now_us};
#[cfg(target_os = "none")]
pub(crate) use now::{ns_at, us_at};
#[cfg(target_os = "none")]
pub(crate) use trust::{Counter, decide};
#[cfg(target_os = "none")]
pub use wait::{halt_for, halt_until, sleep};
#[cfg(target_os = "none")]
pub(crate) use warp::{
    answer as answer_for_warps, look as look_for_warps, read as read_for_warps,
    take_turns as take_turns_for_warps,
};
