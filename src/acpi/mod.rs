//! Layer 5: the firmware's ACPI tables: CPUs, timers, interrupt routing, NUMA distances.
//!
//! All parsing is pure and accesses memory through [`rsdp::TableMemory`], so that the host runs the same code on any
//! image of tables. Each invalid item is reported as a [`Defect`](crate::boot::defect::Defect), and only that item is
//! ignored.

pub mod cpu_list;
pub(crate) mod describe;
pub(crate) mod entries;
pub(crate) mod expected;
pub mod id_index;
pub(crate) mod io_apic_probe;
pub(crate) mod irq_routing;
mod layout;
pub mod madt;
pub mod numa;
pub(crate) mod ports;
pub(crate) mod reset;
pub(crate) mod rsdp;
pub mod slit;
pub mod srat;
pub(crate) mod tables;
pub(crate) mod timers;

#[cfg(test)]
mod image_tests;
#[cfg(target_os = "none")]
mod live;
#[cfg(target_os = "none")]
mod platform;

pub use cpu_list::CpuEntry;
pub(crate) use irq_routing::{InterruptSource, IoApicEntry, IrqRoute, IrqRouteError, NmiPin, isa_route};
#[cfg(target_os = "none")]
pub(crate) use platform::{Platform, read_platform, reserve_tables, reset_register};
pub(crate) use reset::ResetRegister;
pub(crate) use timers::PmTimer;
