//! The state of a session.

use super::top::Top;
use crate::boot::BootInfo;
use crate::stress::StressError;
use crate::stress::parameters::StressParameters;

/// The state of a session.
pub(super) struct Session<'a> {
    pub boot: &'a BootInfo,
    pub parameters: &'a StressParameters,
    /// Ends the run if a CPU is stuck in a stress.
    pub give_up: fn(StressError) -> !,
    /// The first failure of a stress. No other stress runs after it.
    pub found: Option<StressError>,
    /// The counts of the last `top`.
    pub top: Top,
}
