//! The identity of files: finds out whether two paths name the same file.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A file by its device and its inode: all its names and hard links have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file at `path`; symbolic links are followed.
    ///
    /// # Errors
    /// There is none, or it cannot be reached.
    pub fn of(path: &Path) -> io::Result<FileId> {
        let metadata = std::fs::metadata(path)?;
        Ok(FileId { device: metadata.dev(), inode: metadata.ino() })
    }
}
