//! Layer 10: a console to ask the running kernel with: `work=shell`.
//!
//! Bytes that the serial port has received become [`keys`], the line [`editor`] makes lines of these, and [`command`] says
//! what a line asks for. What commands there are is in one [`table`], from which come help, usage and
//! [completion](complete). While the boot processor waits for a key it halts, and the other CPUs wait for work as they do
//! between workloads; what a command finds wrong it says in one line.

pub mod command;
pub mod complete;
pub mod editor;
pub mod keys;
pub mod table;

#[cfg(target_os = "none")]
mod answer;
#[cfg(target_os = "none")]
mod cpus;
#[cfg(target_os = "none")]
mod irq;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod places;
#[cfg(target_os = "none")]
mod reset;
#[cfg(target_os = "none")]
mod session;
#[cfg(target_os = "none")]
mod timers;
#[cfg(target_os = "none")]
mod tracing;
#[cfg(target_os = "none")]
mod work;

#[cfg(test)]
mod tests;

#[cfg(target_os = "none")]
pub use memory::drain_cpus;
#[cfg(target_os = "none")]
pub use reset::reset;
#[cfg(target_os = "none")]
pub use session::{End, Failure, run};
