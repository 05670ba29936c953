//! The commands of the launcher, one file or folder each: its options, its configuration, its outcome.

pub mod alloc_trace;
pub mod args;
pub mod bench;
pub mod boot;
pub mod cli;
pub mod completions;
mod defaults;
pub mod doctor;
pub mod gdb;
mod help;
mod hints;
mod inputs;
pub mod launch;
pub mod launch_args;
pub mod launch_boot;
pub mod launch_outcome;
pub mod launch_report;
pub mod matrix;
pub mod new;
pub mod report;
pub mod run;
pub mod runs;
mod settings;
pub mod shell;
pub mod soak;
pub mod stress;
pub mod test;
