//! The launcher's request for a report, which it stores in the serial port's scratch register: see
//! [`REPORT_REQUEST_PORT`](crate::wire::REPORT_REQUEST_PORT).

use x86_64::instructions::port::Port;

use crate::wire::{REPORT_REQUEST, REPORT_REQUEST_PORT};

/// Clears what firmware or an earlier kernel left in the register.
///
/// **Context:** the BSP, once, after the port was opened, whose test restores the register.
pub(crate) fn clear() {
    // SAFETY: the scratch register of COM1 has no function. The port's driver accesses it only while it opens the port.
    unsafe { Port::<u8>::new(REPORT_REQUEST_PORT).write(0) };
}

/// Returns whether the launcher requests a report. **Context:** any, NMI included.
pub(crate) fn is_pending() -> bool {
    // SAFETY: the scratch register of COM1 has no function, and a read has no effect. Without a port it returns ones.
    let stored = unsafe { Port::<u8>::new(REPORT_REQUEST_PORT).read() };
    stored == REPORT_REQUEST
}
