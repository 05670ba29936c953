//! How a run ends, by the machine's own means.

/// The I/O port of the `isa-debug-exit` device that the launcher adds to the machine.
pub const EXIT_PORT: u16 = 0xf4;

/// The I/O port by which Bochs is ended: it takes [`SHUTDOWN`], byte by byte.
pub const SHUTDOWN_PORT: u16 = 0x8900;

/// What ends Bochs.
pub const SHUTDOWN: &[u8; size_of::<u64>()] = b"Shutdown";

/// How a run ended, as written to [`EXIT_PORT`].
///
/// QEMU ends with status `(code << 1) | 1`. None of these can be mistaken for QEMU's own 0 (which it also returns
/// for a triple fault under `-no-reboot`) or 1 (it did not start).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// The verdict is pass.
    Pass = 0x10,
    /// The verdict is fail.
    Fail = 0x11,
    /// The kernel panicked, or took an exception that nothing handles.
    Panicked = 0x12,
    /// The kernel refused the machine.
    Refused = 0x13,
    /// An option on the kernel command line is unknown or malformed.
    Usage = 0x14,
}

impl ExitCode {
    /// All of them.
    pub const ALL: [ExitCode; 5] =
        [ExitCode::Pass, ExitCode::Fail, ExitCode::Panicked, ExitCode::Refused, ExitCode::Usage];

    /// The exit status that QEMU turns this code into.
    pub const fn qemu_status(self) -> i32 {
        ((self as i32) << 1) | 1
    }

    /// The code behind an exit status of QEMU's; `None` where QEMU ended for a reason of its own.
    pub fn from_qemu_status(status: i32) -> Option<ExitCode> {
        ExitCode::ALL.into_iter().find(|code| code.qemu_status() == status)
    }
}

#[cfg(test)]
mod tests {
    use super::ExitCode;

    #[test]
    fn exit_codes_cannot_be_mistaken_for_qemus_own() {
        for code in ExitCode::ALL {
            assert!(code.qemu_status() > 1);
            assert_eq!(ExitCode::from_qemu_status(code.qemu_status()), Some(code));
        }
        assert_eq!(ExitCode::from_qemu_status(0), None);
        assert_eq!(ExitCode::from_qemu_status(1), None);
    }
}
