//! I/O ports of devices that the kernel uses. ACPI tables must not name them for another purpose.

use crate::wire::{EXIT_PORT, SHUTDOWN_PORT, TRACE_PORT};

/// Ports in use: first, last, and the device.
const TAKEN: [(u16, u16, &str); 8] = [
    (0x20, 0x21, "the PIC"),
    (0x40, 0x43, "the PIT"),
    (0x61, 0x61, "the PIT"),
    (0xa0, 0xa1, "the PIC"),
    (0x3f8, 0x3ff, "the serial port"),
    (EXIT_PORT, EXIT_PORT + 3, "the emulator's exit device"),
    (TRACE_PORT, TRACE_PORT, "the trace"),
    (SHUTDOWN_PORT, SHUTDOWN_PORT, "the emulator's shutdown port"),
];

/// Returns the device that uses one of the `count` ports from `first` on.
pub(crate) fn owner(first: u16, count: u16) -> Option<&'static str> {
    let last = first.saturating_add(count - 1);
    TAKEN.iter().find(|(low, high, _)| *low <= last && first <= *high).map(|(_, _, owner)| *owner)
}
