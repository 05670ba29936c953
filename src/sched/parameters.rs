//! The parameters of the scheduler, and of the locks.

use super::policies::{BUILT_IN, Policy};
use crate::boot::command_line::{
    FromText, Parameter, ParameterList, ParameterSet, ParameterValue, ValueError,
};
use crate::{named, parameters};

parameters! {
    /// The parameters of the scheduler.
    pub struct SchedulerParameters {
        /// The scheduling policy of all CPUs.
        pub policy: &'static Policy = BUILT_IN[0], "scheduler";
    }
}

named! {
    /// What is checked of locks.
    pub enum LockChecks {
        /// That no lock is taken twice, and that no spin lock is waited for too long.
        Off = "off",
        /// Also that threads do not wait for each other's mutexes.
        Waits = "waits",
        /// Also that locks are taken in one order.
        On = "on",
    }
}

/// `locks.checked=`, as far as the kernel was built for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockParameters {
    /// What is checked.
    pub checked: LockChecks,
    /// Whether this kernel was built with the feature `checked`.
    is_built_in: bool,
}

impl LockParameters {
    /// Creates parameters without checks. `is_built_in`: whether this kernel was built with the feature `checked`.
    pub const fn new(is_built_in: bool) -> LockParameters {
        LockParameters { checked: LockChecks::Off, is_built_in }
    }
}

const CHECKED: Parameter = Parameter {
    name: "locks.checked",
    summary: " Whether the order in which locks are taken is checked, or only that threads do not wait for each other's mutexes.",
    allowed: <LockChecks as FromText>::describe,
    default: |f| ParameterValue::write(&LockChecks::Off, f),
    set: None,
    place: None,
};

impl ParameterSet for LockParameters {
    fn parameters(&self) -> &'static ParameterList {
        const ALL: ParameterList = &[CHECKED];
        &ALL
    }

    fn set<'a>(&mut self, _: &str, value: &'a str) -> Result<(), ValueError<'a>> {
        let mut checked = self.checked;
        checked.assign(value)?;
        if checked != LockChecks::Off && !self.is_built_in {
            return Err(ValueError::NotBuiltIn { what: "checks of locks", feature: "checked" });
        }
        self.checked = checked;
        Ok(())
    }
}
