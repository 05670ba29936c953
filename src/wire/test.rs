//! Records of tests.

use serde::{Deserialize, Serialize};

/// How far a test is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestPhase {
    /// It runs.
    Begun,
    /// It has returned.
    Passed,
    /// It has not returned within its time. A panic that says so follows.
    TimedOut,
}

/// A step of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestStep {
    /// Its number in the kernel's file.
    pub number: u32,
    /// How far it is.
    pub phase: TestPhase,
    /// The time of the step since boot, in microseconds.
    pub us: u64,
}
