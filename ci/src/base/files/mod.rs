//! Files and folders that the user names, and the launcher's temporary ones.
//!
//! [`Plan`] lists the files that a command reads and writes by name. It is checked before anything starts: no output replaces
//! an input, and every output is writable. [`output`] writes a file completely or not at all. [`input`] reads a regular file of
//! a bounded size. [`FolderLock`] reserves a folder for one run. [`scratch`] has temporary folders that are removed even after
//! a `SIGKILL`.

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
