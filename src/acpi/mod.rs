//! Layer 5: what the firmware's ACPI tables say of the machine: its CPUs, its timers, the wiring of
//! interrupts, and what is near to what.
//!
//! All parsing is pure and takes its memory through [`rsdp::TableMemory`], so that a host runs the same code over any image
//! of tables. What cannot be is reported as a [`Defect`](crate::boot::defect::Defect) and costs no more than itself.

pub(crate) mod describe;
pub(crate) mod entries;
pub(crate) mod expected;
pub mod index;
pub(crate) mod io_apic_probe;
mod layout;
pub mod madt;
pub mod numa;
pub(crate) mod ports;
pub(crate) mod reset;
pub mod roster;
pub(crate) mod rsdp;
pub mod slit;
pub mod srat;
pub(crate) mod tables;
pub(crate) mod timers;
pub(crate) mod wiring;

#[cfg(test)]
mod image_tests;
#[cfg(target_os = "none")]
mod live;
#[cfg(target_os = "none")]
mod platform;

#[cfg(target_os = "none")]
pub(crate) use platform::{Platform, read_platform, reserve_tables, reset_register};
pub(crate) use reset::ResetRegister;
pub use roster::RosterEntry;
pub(crate) use timers::PmTimer;
pub(crate) use wiring::{IoApicEntry, Line, NmiPin, PinRule, WiringError, isa_line};
