//! Layer 5: what the firmware's ACPI tables say of the machine: its CPUs, its timers, the wiring of
//! interrupts, and what is near to what.

pub mod entries;
pub mod madt;
pub mod numa;
mod reset;
pub mod roster;
pub mod slit;
pub mod srat;
mod timers;
mod wiring;

#[cfg(target_os = "none")]
mod platform;
#[cfg(target_os = "none")]
mod tables;

#[cfg(all(target_os = "none", feature = "shell"))]
pub use platform::find_reset_register;
#[cfg(target_os = "none")]
pub use platform::{NmiPin, Platform, read_platform};
pub use reset::{ResetRegister, reset_register};
pub use roster::RosterEntry;
pub use timers::{PmTimer, hpet_address, pm_timer};
pub use wiring::{IoApicEntry, Line, PinRule, WiringError, isa_line};
