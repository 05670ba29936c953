//! The result of a run in one word, and its exit status.

use serde::{Deserialize, Serialize};

/// The result of a run in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// All is well.
    Pass,
    /// The kernel found something wrong, or the witnesses contradict each other.
    Fail,
    /// The kernel panicked, or the machine reset itself.
    Panic,
    /// No answer in time.
    Timeout,
    /// The kernel cannot run on this machine.
    Refused,
    /// The launcher's or the kernel's command line is wrong.
    Usage,
    /// Something is missing, the kernel does not build, or the emulator did not start.
    Error,
    /// A signal ended the launcher.
    Interrupted,
}

/// The launcher's exit statuses and their meanings, for `--help` and the documentation.
pub const STATUSES: &[(u8, &str)] = &[
    (0, "pass"),
    (
        1,
        "the kernel's verdict is fail, or its pass lacks evidence; a row of the matrix or a soak failed, or the row's emulator \
         did not start",
    ),
    (
        2,
        "a wrong option or kernel parameter; a missing tool that could not be installed; a kernel that does not build; an \
         emulator that does not start or is killed; a pass of which a requested file could not be written",
    ),
    (3, "the kernel panicked, or the machine reset (a triple fault, a second boot)"),
    (
        4,
        "time-out: no verdict in time; the backtrace and the locks of each CPU are printed, or else its registers",
    ),
    (5, "the kernel refused the machine, with its reason"),
    (130, "interrupted by a signal"),
];

impl VerdictKind {
    /// The launcher's exit status.
    pub fn status(self) -> u8 {
        match self {
            VerdictKind::Pass => 0,
            VerdictKind::Fail => 1,
            VerdictKind::Usage | VerdictKind::Error => 2,
            VerdictKind::Panic => 3,
            VerdictKind::Timeout => 4,
            VerdictKind::Refused => 5,
            VerdictKind::Interrupted => 130,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_documented() {
        use VerdictKind::*;
        let all = [Pass, Fail, Panic, Timeout, Refused, Usage, Error, Interrupted];
        for kind in all {
            assert!(STATUSES.iter().any(|(status, _)| *status == kind.status()), "{kind:?}");
        }
        assert!(STATUSES.iter().all(|(status, _)| all.iter().any(|kind| kind.status() == *status)));
    }
}
