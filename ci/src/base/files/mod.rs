//! Files and folders that the user names, and the launcher's own temporary ones.
//!
//! [`Plan`] is what a command reads and writes by name: it is checked before anything starts, so that no output replaces
//! an input and none turns out to be unwritable in the end. [`output`] writes a file as a whole or not at all, [`input`]
//! reads one that is a file and not too large, [`FolderLock`] keeps two runs out of one folder, [`scratch`] has temporary
//! folders that are removed even after a `SIGKILL`.

mod identity;
pub mod input;
mod lock;
pub mod output;
mod plan;
pub mod run_folder;
pub mod scratch;

pub use identity::FileId;
pub use lock::{FolderLock, LOCK_FILE};
pub use plan::Plan;
pub use run_folder::RunFolder;
pub use scratch::Scratch;
