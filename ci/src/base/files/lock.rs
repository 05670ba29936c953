//! The lock of a folder: one run at a time uses it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::base::Error;

/// The file of a folder that its user holds the lock of.
pub const LOCK_FILE: &str = ".octopod.lock";

/// A folder that is in use, until this is dropped or the process ends in whatever way.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes a folder that exists.
    ///
    /// # Errors
    /// Another run uses it, or its lock file cannot be made.
    pub fn take(folder: &Path) -> Result<FolderLock, Error> {
        let path = folder.join(LOCK_FILE);
        let file = open(&path, true).map_err(Error::file("write", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(FolderLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::FolderBusy { folder: folder.to_owned() }),
            // Some file systems have no locks; two runs in one folder are then not told apart.
            Err(TryLockError::Error(error)) if has_no_locks(&error) => Ok(FolderLock { _file: file }),
            Err(TryLockError::Error(source)) => Err(Error::File { action: "lock", path, source }),
        }
    }

    /// Takes a folder that a run has used before. `None` if it is in use, or never was used.
    pub(super) fn take_left_behind(folder: &Path) -> Option<FolderLock> {
        let file = open(&folder.join(LOCK_FILE), false).ok()?;
        file.try_lock().ok().map(|()| FolderLock { _file: file })
    }

    /// Returns whether a run uses the folder now.
    pub fn is_held(folder: &Path) -> bool {
        let file = open(&folder.join(LOCK_FILE), false);
        file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }
}

/// The file may be the user's own of that name: nothing in it is changed.
fn open(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path)
}

fn has_no_locks(error: &io::Error) -> bool {
    let no_locks = rustix::io::Errno::NOLCK.raw_os_error();
    error.kind() == ErrorKind::Unsupported || error.raw_os_error() == Some(no_locks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_user_until_that_one_ends() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!FolderLock::is_held(folder.path()));
        assert!(FolderLock::take_left_behind(folder.path()).is_none());
        let lock = FolderLock::take(folder.path()).unwrap();
        assert!(FolderLock::is_held(folder.path()));
        let error = FolderLock::take(folder.path()).unwrap_err();
        assert_eq!(error.verdict().status(), 2);
        assert!(error.to_string().contains("--out DIR"), "{error}");
        assert!(FolderLock::take_left_behind(folder.path()).is_none());
        drop(lock);
        assert!(!FolderLock::is_held(folder.path()));
        assert!(FolderLock::take_left_behind(folder.path()).is_some());
    }
}
