//! The commands of the launcher.

pub mod bench;
pub mod cli;
pub mod launch;
pub mod matrix;
pub mod report;
pub mod soak;
