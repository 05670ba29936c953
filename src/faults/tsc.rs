//! Faults of the TSC.

use super::injection::{Injection, Point, on_last_cpu};
use super::names::Fault;
use crate::time::faults;

pub(super) const INJECTIONS: &[Injection] = &[
    Injection(Point::CommandLine, Fault::TscDrifts, faults::inject_tsc_drift),
    Injection(Point::BeforeTscSync, Fault::TscWarps, warp),
];

fn warp() {
    // About a second, so that the check finds it even on a busy host.
    on_last_cpu(&|| faults::inject_tsc_offset(1 << 32));
}
