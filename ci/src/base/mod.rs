//! The lowest layer: errors, messages, child processes, files, values and texts.

pub mod cargo;
pub mod checkout;
pub mod error;
pub mod files;
pub mod interrupt;
pub mod meminfo;
pub mod message;
pub mod numbers;
pub mod process;
pub mod project;
pub mod shard;
#[cfg(test)]
pub(crate) mod test_program;
pub mod text;
pub mod values;
pub mod verdict;
pub mod version;

pub use checkout::{Workspace, WorkspaceKind};
pub use error::Error;
pub use message::{Message, Observer, Silent};
pub use verdict::VerdictKind;
pub use version::Version;
