//! The workloads as threads of the host, without a machine.

pub mod stress;
mod watchdog;
