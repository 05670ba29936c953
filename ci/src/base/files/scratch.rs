//! Temporary folders. Each is removed when its process no longer needs it. The folders of a killed process are removed by the
//! next one.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::base::Error;
use crate::base::files::lock::FolderLock;

/// Begins the name of each.
const PREFIX: &str = "octopod-";

/// A folder with a short name without special characters.
const SHORT: &str = "/tmp";

/// A temporary folder, for as long as this lives. The path of a [`Scratch::new`] is short enough for a socket in it, and has no character that
/// QEMU, a shell or gdb take for a mark of their own.
#[derive(Debug)]
pub struct Scratch {
    folder: tempfile::TempDir,
    _lock: FolderLock,
}

impl Scratch {
    /// Makes one whose path, with `name` in it, has at most `most` bytes; and removes those of processes that are gone.
    ///
    /// # Errors
    /// The system's error.
    pub fn new(name: &str, most: usize) -> Result<Scratch, Error> {
        let wanted = std::env::temp_dir();
        // The prefix, six characters, two slashes.
        let length = wanted.as_os_str().len() + PREFIX.len() + 6 + 2 + name.len();
        let is_usable = length <= most && wanted.is_absolute() && is_plain(&wanted);
        Scratch::new_in(if is_usable { &wanted } else { Path::new(SHORT) })
    }

    /// Makes one in this folder, which is made if it is missing; and removes those there of processes that are gone.
    ///
    /// # Errors
    /// The system's error.
    pub fn new_in(parent: &Path) -> Result<Scratch, Error> {
        fs::create_dir_all(parent).map_err(Error::file("make the folder", parent))?;
        sweep(parent);
        loop {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent);
            let folder = folder.map_err(Error::file("make a folder in", parent))?;
            match FolderLock::take(folder.path()) {
                Ok(lock) if folder.path().is_dir() => return Ok(Scratch { folder, _lock: lock }),
                // Another process is sweeping, and has come upon it before it was locked.
                Ok(_) | Err(Error::FolderBusy { .. }) => {}
                Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A name for a file that has no special characters in it: its own, or that of a link here to it.
    ///
    /// # Errors
    /// The system's error.
    pub fn plain(&self, file: &Path, name: &str) -> Result<PathBuf, Error> {
        if is_plain(file) {
            return Ok(file.to_owned());
        }
        let link = self.path().join(name);
        let _ = fs::remove_file(&link);
        symlink(file, &link).map_err(Error::file("make the link", &link))?;
        Ok(link)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders of this user's processes that are gone.
pub fn sweep(parent: &Path) {
    let own = rustix::process::geteuid().as_raw();
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.filter_map(Result::ok) {
        let is_named = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        let is_own = || entry.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == own);
        if !is_named || !is_own() {
            continue;
        }
        // A folder without a lock file is none of these.
        if let Some(_lock) = FolderLock::take_left_behind(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_plain(path: &Path) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    path.as_os_str().as_encoded_bytes().iter().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_processes_that_are_gone_are_swept_and_no_others() {
        let parent = tempfile::tempdir().unwrap();
        let at_work = Scratch::new_in(parent.path()).unwrap();
        let killed = Scratch::new_in(parent.path()).unwrap();
        let left = killed.path().to_owned();
        // As after a kill: the locks of the process end, its folders stay.
        let Scratch { folder, _lock } = killed;
        drop(_lock);
        let _ = folder.keep();
        let others = parent.path().join("octopod-of-the-user");
        fs::create_dir(&others).unwrap();
        let next = Scratch::new_in(parent.path()).unwrap();
        assert!(!left.exists() && others.exists() && at_work.path().exists() && next.path().exists());
        let path = next.path().to_owned();
        drop(next);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_of_any_name_has_a_plain_one() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::new("qmp", 100).unwrap();
        for name in ["a b", "it's", "a,b", "100%", "\u{e4}", "plain"] {
            let file = folder.path().join(name);
            fs::write(&file, name).unwrap();
            let plain = scratch.plain(&file, "file").unwrap();
            assert_eq!(fs::read_to_string(&plain).unwrap(), name);
            assert!(is_plain(&plain) && (plain == file) == (name == "plain"), "{}", plain.display());
        }
    }

    #[test]
    fn a_path_for_a_socket_is_short_and_plain() {
        assert!(is_plain(Path::new("/tmp/a-b.c_d")) && !is_plain(Path::new("/tmp/a b")));
        for (name, most) in [("qmp", 100), ("qmp", 30)] {
            let scratch = Scratch::new(name, most).unwrap();
            let path = scratch.path().join(name);
            assert!(path.as_os_str().len() <= most && is_plain(&path), "{}", path.display());
        }
    }
}
