//! QEMU's machine protocol: a client for tests, and the launcher's own monitor.

mod client;
mod error;
mod monitor;

pub use client::{Qmp, connect};
pub use error::QmpError;
pub use monitor::Monitor;
