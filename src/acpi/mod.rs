//! Layer 5: what the firmware's ACPI tables say of the machine: its CPUs, its timers, the wiring of
//! interrupts, and what is near to what.

pub mod entries;
pub mod madt;
pub mod numa;
pub mod roster;
pub mod slit;
pub mod srat;
mod timers;
mod wiring;

#[cfg(target_os = "none")]
mod platform;
#[cfg(target_os = "none")]
mod tables;

#[cfg(target_os = "none")]
pub use platform::{NmiPin, Platform, read_platform};
pub use roster::RosterEntry;
pub use timers::{PmTimer, hpet_address, pm_timer};
pub use wiring::{IoApicEntry, Line, PinRule, WiringError, isa_line};
