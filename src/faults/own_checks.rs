//! Faults of the bench and of the self-test, which these inject themselves.

use super::injection::{Injection, Point};
use super::names::Fault;
use crate::{bench, selftest};

pub(super) const INJECTIONS: &[Injection] = &[
    Injection(Point::BeforeWork, Fault::UnsteadyCost, bench::become_unsteady),
    Injection(Point::CommandLine, Fault::ClobberRegister, selftest::arm_clobber),
];
