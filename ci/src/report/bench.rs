//! The costs of operations in the report.

use octopod::wire::Bench;
use serde::{Deserialize, Serialize};

/// The cost of an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// The benchmark's name.
    pub name: String,
    /// The unit of the figures: `instructions`.
    pub unit: String,
    /// For one operation.
    pub value: f64,
    /// The limit; absent for a figure that is only shown, and if nothing was compared.
    pub limit: Option<f64>,
    /// The target, if the limit is higher.
    pub goal: Option<f64>,
    /// The figure of Linux 6.1 for the same operation.
    pub linux: Option<f64>,
}

impl BenchReport {
    /// A figure that is not compared with a limit yet.
    pub fn new(name: &str, unit: &str, value: f64) -> Self {
        Self { name: name.to_owned(), unit: unit.to_owned(), value, limit: None, goal: None, linux: None }
    }
}

pub(super) fn report(bench: &Bench<String>) -> BenchReport {
    BenchReport::new(&bench.name, &bench.unit, bench.total as f64 / bench.operations as f64)
}
