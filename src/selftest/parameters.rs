//! The parameters of the self-test.

use super::ALL;
use super::part::Part;
use super::registered::{MAX_REGISTERED, registered};
use crate::boot::command_line::{Bounded, NameList};
use crate::parameters;
use crate::registry::by_name;

/// The largest value of `selftest.rounds`.
const MAX_ROUNDS: u32 = 1_000_000_000;

/// Some of the parts.
pub type PartList = NameList<&'static Part, { ALL.len() + MAX_REGISTERED }>;

/// All parts, those of the program last.
fn all() -> PartList {
    let mut list = PartList::EMPTY;
    // The boot refuses a program with more of them than fit, or with two of one name.
    for part in ALL.iter().chain(by_name(registered(), |part| part.name)) {
        list.push(part);
    }
    list
}

parameters! {
    /// The parameters of the self-test.
    pub struct SelfTestParameters {
        /// The parts, in this order.
        pub parts: PartList = all(), "selftest.parts";
        /// The rounds of each part that has rounds, all CPUs together.
        pub rounds: Bounded<1, MAX_ROUNDS> = Bounded::new(1000).expect("within bounds"), "selftest.rounds";
    }
}
