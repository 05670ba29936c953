//! The launcher's request for a report of a machine that has reached its time limit.
//!
//! The launcher writes [`REPORT_REQUEST`] to [`REPORT_REQUEST_PORT`] by QEMU's monitor, and then injects an NMI. An NMI has no
//! reason of its own, so the request is stored first. The kernel reports as in a panic, with [`REPORT_REQUESTED`] as the
//! message. Any other NMI is only counted.

/// The scratch register of the first serial port (16550D datasheet, 8.10): it stores a byte and has no other function.
pub const REPORT_REQUEST_PORT: u16 = 0x3ff;

/// The request. Neither 0, which the kernel writes at the boot, nor 0xff, which is read where there is no port.
pub const REPORT_REQUEST: u8 = 0x4e;

/// The message of the report's [`Panic`](super::Panic).
pub const REPORT_REQUESTED: &str = "NMI: the launcher requests a report";
