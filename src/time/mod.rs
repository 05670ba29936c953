//! Layer 7: the clock, timers, and waits with a deadline.
//!
//! [`now_ns`] reads the TSC, or another counter if the TSC is unstable ([`select_clocksource`]). CPUID or the hypervisor
//! reports the TSC's frequency; otherwise it is measured against a timer of known frequency (`reference`, with the arithmetic
//! of [`calibration`]). The APIC timer's frequency is measured in the same windows. Each CPU has a queue of timers on its
//! APIC timer ([`timer`], ordered by [`heap`]). There is no tick, so a CPU without timers takes no timer interrupt.
//! [`halt_until`] waits for a condition or a deadline.

pub(crate) mod calibration;
pub(crate) mod heap;
#[doc(hidden)]
pub mod parameters;

#[cfg(target_os = "none")]
mod clock;
#[cfg(target_os = "none")]
mod clocksource;
#[cfg(target_os = "none")]
mod estimate;
#[cfg(target_os = "none")]
mod fallback;
#[cfg(all(target_os = "none", feature = "faults"))]
pub(crate) mod faults;
#[cfg(target_os = "none")]
mod frequency;
#[cfg(target_os = "none")]
mod now;
#[cfg(target_os = "none")]
mod reference;
#[cfg(target_os = "none")]
pub mod timer;
#[cfg(all(target_os = "none", feature = "faults"))]
mod tsc_offset;
#[cfg(target_os = "none")]
mod wait;
#[cfg(target_os = "none")]
mod warp;

#[cfg(target_os = "none")]
pub(crate) use clock::init;
#[cfg(target_os = "none")]
pub(crate) use clocksource::{Clocksource, select_clocksource};
#[cfg(target_os = "none")]
pub(crate) use estimate::estimate_tsc_hz;
#[cfg(target_os = "none")]
pub(crate) use frequency::Clock;
#[cfg(target_os = "none")]
pub use now::{now_ns, now_us};
#[cfg(target_os = "none")]
pub(crate) use now::{ns_at, us_at};
#[cfg(target_os = "none")]
pub use wait::{halt_for, halt_until, sleep};
#[cfg(target_os = "none")]
pub(crate) use warp::{
    answer as answer_skew_sample, ping_pong as ping_pong_skew, read as read_for_skew, sample as sample_skew,
};
