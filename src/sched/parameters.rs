//! The parameters of the scheduler.

use super::policies::{BUILT_IN, Policy};
use crate::parameters;

parameters! {
    /// The parameters of the scheduler.
    pub struct SchedulerParameters {
        /// The scheduling policy of all CPUs.
        pub policy: &'static Policy = BUILT_IN[0], "scheduler";
    }
}
