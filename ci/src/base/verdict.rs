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
