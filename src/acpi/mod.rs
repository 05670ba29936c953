//! Layer 5: what the firmware's ACPI tables say of the machine: its CPUs, its timers, the wiring of
//! interrupts, and what is near to what.
//!
//! All parsing is pure and takes its memory through [`rsdp::TableMemory`], so that a host runs the same code over any image
//! of tables. What cannot be is reported as a [`Defect`](crate::boot::defect::Defect) and costs no more than itself.

pub mod describe;
pub mod entries;
pub mod expected;
pub mod index;
pub mod io_apic_probe;
pub mod madt;
pub mod numa;
pub mod ports;
pub mod reset;
pub mod roster;
pub mod rsdp;
pub mod slit;
pub mod srat;
pub mod tables;
pub mod timers;
pub mod wiring;

#[cfg(target_os = "none")]
mod live;
#[cfg(target_os = "none")]
mod platform;

#[cfg(target_os = "none")]
pub use platform::{OutOfMemory, Platform, read_platform, reserve_tables, reset_register};
pub use reset::ResetRegister;
pub use roster::RosterEntry;
pub use timers::PmTimer;
pub use wiring::{IoApicEntry, Line, NmiPin, PinRule, WiringError, isa_line};
