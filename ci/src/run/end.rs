//! The end of the emulator of a run.

use std::fmt;
use std::time::Duration;

use crate::run::records::Step;

/// The end of a run, as the launcher saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The emulator ended with a status.
    Status(i32),
    /// The kernel ended Bochs.
    ShutDown,
    /// A signal ended the emulator.
    Signal(i32),
    /// The launcher ended the emulator when the time was up.
    Deadline(TimeLimit),
    /// The launcher ended the emulator because it was asked to.
    Interrupted,
    /// The launcher ended the emulator because the kernel booted a second time.
    SecondBoot,
}

/// A time limit that has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeLimit {
    /// The limit.
    pub limit: Duration,
    /// The step after which it began again; `None` if it counted from the emulator's start.
    pub since: Option<Step>,
}

impl TimeLimit {
    /// A limit from the emulator's start on.
    pub fn of_run(limit: Duration) -> TimeLimit {
        TimeLimit { limit, since: None }
    }

    /// `missing` with the time in which it did not come.
    pub fn without(&self, missing: &str) -> String {
        match &self.since {
            None => format!("no {missing} {self}"),
            Some(_) => format!("no {missing} and no further step {self}"),
        }
    }
}

/// As in "within 60 s after the bring-up of the CPUs".
impl fmt::Display for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "within {} s", self.limit.as_secs())?;
        match &self.since {
            None => Ok(()),
            Some(step) => write!(f, " after {step}"),
        }
    }
}
