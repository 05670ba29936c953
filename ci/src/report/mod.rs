//! The result of a run: the verdict, the JSON document, and the comparison of two documents.

pub mod bench;
pub mod check;
pub mod comparison;
pub mod cost_limits;
pub mod descriptions;
pub mod document;
pub mod event_names;
pub mod expect;
pub mod headline;
pub mod heap;
pub mod interrupts;
pub mod lateness;
pub mod lock_wait;
pub mod memory;
pub mod origin;
pub mod outcome;
pub mod panic;
pub mod program_call;
pub mod read;
#[cfg(test)]
pub mod sample;
pub mod scheduler;
pub mod shards;
pub mod stress;
pub mod symbolize;
pub mod trace;
pub mod verdict;
pub mod warning;

pub use document::Report;
pub use outcome::Outcome;
pub use verdict::{Judgement, Requested, RequestedWork};
