//! Layer 10: the shell, which executes typed commands on the running kernel: `work=shell`.
//!
//! [`keys`] decodes the bytes of the serial port, the line [`editor`] makes lines of the keys, and [`command`] parses a line.
//! The commands are rows of one [`table`], which help, usage and [completion](complete) use as well. The BSP halts while it
//! waits for a key. The APs wait for work, as between workloads. A command reports an error in one line.

pub(crate) mod command;
pub(crate) mod complete;
pub(crate) mod editor;
pub(crate) mod keys;
mod parse;
pub(crate) mod table;

#[cfg(target_os = "none")]
mod backtrace;
#[cfg(target_os = "none")]
mod cpus;
#[cfg(target_os = "none")]
mod error;
#[cfg(target_os = "none")]
mod irq;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod reset;
#[cfg(target_os = "none")]
mod session;
#[cfg(target_os = "none")]
mod state;
#[cfg(target_os = "none")]
mod threads;
#[cfg(target_os = "none")]
mod timers;
#[cfg(target_os = "none")]
mod top;
#[cfg(target_os = "none")]
mod tracing;
#[cfg(target_os = "none")]
mod work;

#[cfg(test)]
mod tests;

#[cfg(target_os = "none")]
pub(crate) use memory::drain_cpus;
#[cfg(target_os = "none")]
pub(crate) use reset::reset;
#[cfg(target_os = "none")]
pub(crate) use session::{End, SessionError, run};
