//! The trace of a run in its report.

use octopod::wire::TraceEvent;
use serde::{Deserialize, Serialize};

/// The trace beside the report, in `trace.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceReport {
    /// CPUs that recorded.
    pub cpus: usize,
    /// Events that came.
    pub events: u64,
    /// Events that were recorded and lost.
    pub lost: u64,
}

/// One of a CPU's last events before a panic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventReport {
    /// The time before the panic, in TSC cycles; an event after it has a minus.
    #[serde(default)]
    pub cycles_before: i64,
    /// The same in microseconds; absent if the kernel did not know the TSC's frequency yet.
    pub us_before: Option<f64>,
    /// The kind.
    pub text: String,
}

impl EventReport {
    /// Returns whether it is a stage of the boot or of a CPU's bring-up.
    pub fn is_stage(&self) -> bool {
        let kind = self.text.split(',').next().unwrap_or_default();
        [TraceEvent::BootStage, TraceEvent::CpuStage].iter().any(|event| event.names().0 == kind)
    }

    /// Returns the time before the panic, with its unit.
    pub fn time_before(&self) -> String {
        match self.us_before {
            Some(us) => format!("{us:.1} us"),
            None => format!("{} cycles", self.cycles_before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_not_called_microseconds() {
        let event = |us_before| EventReport { cycles_before: 45_111_794, us_before, text: String::new() };
        assert_eq!(event(None).time_before(), "45111794 cycles");
        assert_eq!(event(Some(19_613.82)).time_before(), "19613.8 us");
    }
}
