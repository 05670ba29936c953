//! The workloads as threads of the host, without a machine.

mod program;
pub mod stress;
mod threads;
mod watchdog;
mod work;
