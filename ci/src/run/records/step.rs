//! The steps of a run, at each of which the default time limit begins again.

use std::fmt;

use octopod::wire::{Record, TestPhase};

/// A step of a run that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The CPUs were brought up.
    BringUp,
    /// A CPU was reported.
    Cpu(u32),
    /// The page tables were audited.
    PageTables,
    /// The work began.
    Work,
    /// A workload ended.
    Workload {
        /// Its name.
        name: String,
        /// The allocator or the heap.
        allocator: String,
        /// The number of CPUs.
        cpus: u32,
    },
    /// A benchmark was measured.
    Benchmark(String),
    /// A test reached a phase.
    Test(TestPhase),
}

impl Step {
    /// The step that a record completes.
    pub fn of(record: &Record<String>) -> Option<Step> {
        Some(match record {
            Record::Boot(_) => Step::BringUp,
            Record::Cpu(cpu) => Step::Cpu(cpu.cpu),
            Record::PageTables(_) => Step::PageTables,
            Record::Work(_) => Step::Work,
            Record::Stress(stress) => Step::Workload {
                name: stress.workload.clone(),
                allocator: stress.allocator.clone(),
                cpus: stress.cpus,
            },
            Record::Bench(bench) => Step::Benchmark(bench.name.clone()),
            Record::Test(step) => Step::Test(step.phase),
            _ => return None,
        })
    }
}

/// As in "60 s after the bring-up of the CPUs".
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::BringUp => f.write_str("the bring-up of the CPUs"),
            Step::Cpu(cpu) => write!(f, "the report of CPU {cpu}"),
            Step::PageTables => f.write_str("the audit of the page tables"),
            Step::Work => f.write_str("the begin of the work"),
            Step::Workload { name, allocator, cpus } => {
                write!(f, "workload {name} on {allocator} with {cpus} CPUs")
            }
            Step::Benchmark(name) => write!(f, "benchmark {name}"),
            Step::Test(TestPhase::Begun) => f.write_str("the begin of a test"),
            Step::Test(TestPhase::Passed | TestPhase::TimedOut) => f.write_str("the end of a test"),
        }
    }
}
