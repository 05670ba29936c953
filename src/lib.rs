//! octopod: an SMP kernel for x86-64, built around per-CPU data and APIC timers.
//!
//! The modules are layers; each imports only from those above it in this list, and a test reads the sources to keep it
//! so. The pure parts compile on any host, where they are tested; the rest is for `x86_64-unknown-none` alone.
//!
//! | layer | modules |
//! |---|---|
//! | 0 | [`config`], [`wire`] |
//! | 1 | [`cpu`] |
//! | 2 | [`sync`], [`console`] |
//! | 3 | [`boot`], `panic` |
//! | 4 | [`memory`] |
//! | 5 | `interrupts`, [`acpi`] |
//! | 6 | `apic` |
//! | 7 | [`time`] |
//! | 8 | `smp` |
//! | 10 | `audit`, `bench`, `selftest`, [`stress`] |
//! | 11 | `faults`, `report`, `stages` |
//!
//! `stages` shows the whole boot on one screen.

#![cfg_attr(not(test), no_std)]

pub mod config;
pub mod wire;

pub mod cpu;

pub mod console;
pub mod sync;

pub mod boot;
#[cfg(target_os = "none")]
pub mod panic;

pub mod memory;

pub mod acpi;
#[cfg(target_os = "none")]
pub mod interrupts;

#[cfg(target_os = "none")]
pub mod apic;

pub mod time;

#[cfg(target_os = "none")]
pub mod smp;

pub mod stress;

#[cfg(target_os = "none")]
pub mod audit;
#[cfg(target_os = "none")]
pub mod bench;
#[cfg(target_os = "none")]
pub mod selftest;

#[cfg(all(target_os = "none", feature = "faults"))]
mod faults;
#[cfg(target_os = "none")]
mod report;
#[cfg(target_os = "none")]
pub mod stages;
