//! The parameters of the clock.

use crate::{named, parameters};

named! {
    /// Which counter the clock reads.
    pub enum ClockChoice {
        /// The TSC, unless it is found to be unstable.
        Auto = "auto",
        /// The TSC, even if it is found to be unstable.
        Tsc = "tsc",
        /// The HPET.
        Hpet = "hpet",
        /// The ACPI power management timer.
        PmTimer = "pm_timer",
    }
}

parameters! {
    /// The parameters of the clock.
    pub struct ClockParameters {
        /// The counter that the clock reads.
        pub clock: ClockChoice = ClockChoice::Auto, "clock";
    }
}

impl ClockChoice {
    /// The name of the selected timer; for `auto` and `tsc` the names of the timers that can replace the TSC.
    pub const fn timer(self) -> &'static str {
        match self {
            ClockChoice::Hpet => "HPET",
            ClockChoice::PmTimer => "PM timer",
            ClockChoice::Auto | ClockChoice::Tsc => "HPET or PM timer",
        }
    }
}
