//! Layer 7: what time it is, and each CPU's tick.
//!
//! The TSC is the clock. CPUID or the hypervisor tell its frequency, or it is measured against a timer whose frequency
//! is known ([`reference`]); [`calibration`] holds the arithmetic. The APIC timer is measured in the same windows.

pub mod calibration;

#[cfg(target_os = "none")]
mod clock;
#[cfg(target_os = "none")]
mod reference;
#[cfg(target_os = "none")]
mod tick;

#[cfg(target_os = "none")]
pub use clock::{Clock, ClockError, Source, init, now_us, us_at};
#[cfg(target_os = "none")]
pub use tick::start_tick;

/// Sets what each CPU's tick calls, on that CPU, with interrupts off.
#[cfg(target_os = "none")]
pub use crate::apic::set_timer_hook as set_tick_hook;
