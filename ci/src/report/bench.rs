//! What things cost, as the report has it.

use octopod::wire::Bench;
use serde::{Deserialize, Serialize};

/// What something costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// The benchmark's name.
    pub name: String,
    /// What the figures count: `instructions`.
    pub unit: String,
    /// For one operation.
    pub value: f64,
    /// What it may be; absent for what is only shown, and where nothing was compared.
    pub limit: Option<f64>,
    /// What it should be, where the limit is higher.
    pub goal: Option<f64>,
    /// What Linux 6.1 takes for the same.
    pub linux: Option<f64>,
}

pub(super) fn report(bench: &Bench<String>) -> BenchReport {
    BenchReport {
        name: bench.name.clone(),
        unit: bench.unit.clone(),
        value: bench.total as f64 / bench.operations as f64,
        limit: None,
        goal: None,
        linux: None,
    }
}
