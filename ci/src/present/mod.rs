//! The presentation of a report: the terminal, the page with its pictures, the trace file.

mod calls;
pub mod comparison;
mod layout;
pub mod page;
pub mod pictures;
pub mod shards;
pub mod styles;
pub mod table;
pub mod terminal;
pub mod trace;
