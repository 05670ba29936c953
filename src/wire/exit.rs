//! Exit codes, and the ports that end a run.

/// The I/O port of the `isa-debug-exit` device that the launcher adds to the machine.
pub const EXIT_PORT: u16 = 0xf4;

/// The I/O port that ends Bochs when [`SHUTDOWN`] is written to it byte by byte.
pub const SHUTDOWN_PORT: u16 = 0x8900;

/// The bytes for [`SHUTDOWN_PORT`].
pub const SHUTDOWN: &[u8; size_of::<u64>()] = b"Shutdown";

/// The result of a run, as written to [`EXIT_PORT`].
///
/// QEMU exits with status `(code << 1) | 1`, which differs from QEMU's own statuses 0 (also of a triple fault under `-no-reboot`)
/// and 1 (it did not start).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// The verdict is pass.
    Pass = 0x10,
    /// The verdict is fail.
    Fail = 0x11,
    /// The kernel panicked, or took an unhandled exception.
    Panicked = 0x12,
    /// The kernel refused the machine.
    Refused = 0x13,
    /// A parameter on the kernel command line is unknown or malformed.
    Usage = 0x14,
}

impl ExitCode {
    /// All exit codes.
    pub const ALL: [ExitCode; 5] =
        [ExitCode::Pass, ExitCode::Fail, ExitCode::Panicked, ExitCode::Refused, ExitCode::Usage];

    /// Returns QEMU's exit status for this code.
    pub const fn qemu_status(self) -> i32 {
        ((self as i32) << 1) | 1
    }

    /// Returns the code for an exit status of QEMU; `None` for QEMU's own statuses.
    pub fn from_qemu_status(status: i32) -> Option<ExitCode> {
        ExitCode::ALL.into_iter().find(|code| code.qemu_status() == status)
    }
}

#[cfg(test)]
mod tests {
    use super::ExitCode;

    #[test]
    fn exit_codes_differ_from_qemus_own_statuses() {
        for code in ExitCode::ALL {
            assert!(code.qemu_status() > 1);
            assert_eq!(ExitCode::from_qemu_status(code.qemu_status()), Some(code));
        }
        assert_eq!(ExitCode::from_qemu_status(0), None);
        assert_eq!(ExitCode::from_qemu_status(1), None);
    }
}
