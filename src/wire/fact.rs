//! Records of what parts of the kernel have determined, for programs that check a run.

use serde::{Deserialize, Serialize};

use super::Record;

/// A number or a text that a part of the kernel has determined. `docs/report.md` lists them all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact<S> {
    /// The part of the kernel: `selftest.calls`, `memory.node1`.
    pub subject: S,
    /// What it has determined about itself: `rounds`.
    pub name: S,
    /// The number, if it is one.
    pub value: Option<u64>,
    /// The text, if it is one.
    pub text: Option<S>,
}

impl<'a> Record<&'a str> {
    /// A fact that is a number.
    pub const fn number(subject: &'a str, name: &'a str, value: u64) -> Record<&'a str> {
        Record::Fact(Fact { subject, name, value: Some(value), text: None })
    }

    /// A fact that is a text.
    pub const fn text(subject: &'a str, name: &'a str, text: &'a str) -> Record<&'a str> {
        Record::Fact(Fact { subject, name, value: None, text: Some(text) })
    }
}
