//! A part of the self-test.

use core::fmt;

#[cfg(target_os = "none")]
use super::check::CheckResult;

/// A part of the self-test.
pub struct Part {
    /// Its name, on the command line and in reports; of octopod's own also that of the module.
    pub name: &'static str,
    /// Its purpose, in one sentence.
    pub summary: &'static str,
    /// Runs it, with that many rounds in all if it has rounds.
    #[cfg(target_os = "none")]
    pub run: fn(rounds: u32) -> CheckResult,
}

impl PartialEq for Part {
    fn eq(&self, other: &Part) -> bool {
        self.name == other.name
    }
}

impl Eq for Part {}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
