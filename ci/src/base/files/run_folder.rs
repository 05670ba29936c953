//! The folder of one run: its files, and the lock that keeps it for this run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::Error;
use crate::base::files::lock::FolderLock;
use crate::base::files::output;

/// Begins the names of folders in a run's folder that are gone when the run has ended.
pub const TEMPORARY: &str = ".octopod-";

/// The folder of one run. As long as a copy of this lives, the run has not ended.
#[derive(Clone, Debug)]
pub struct RunFolder {
    /// Its path.
    pub path: PathBuf,
    _lock: Arc<FolderLock>,
}

impl RunFolder {
    /// Takes the folder at `path`, which is made if it is missing.
    ///
    /// # Errors
    /// Another run has it, or it cannot be made.
    pub fn take(path: &Path) -> Result<RunFolder, Error> {
        fs::create_dir_all(path).map_err(Error::file("make the folder", path))?;
        // QEMU gets paths in it, and the run's script has to work from any folder.
        let path = fs::canonicalize(path).map_err(Error::file("find", path))?;
        let lock = Arc::new(FolderLock::take(&path)?);
        Ok(RunFolder { path, _lock: lock })
    }

    /// A file of this run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a new file of this run for writing.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn open(&self, name: &str) -> Result<fs::File, Error> {
        let path = self.file(name);
        output::create(&path).map_err(Error::file("write", path))
    }

    /// Writes a file of this run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
        let path = self.file(name);
        output::write(&path, bytes).map_err(Error::file("write", &path))?;
        Ok(path)
    }

    /// Writes a file of this run that can be executed.
    ///
    /// # Errors
    /// The file cannot be written or made executable.
    pub fn write_script(&self, name: &str, text: &[u8]) -> Result<(), Error> {
        let path = self.write(name, text)?;
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&path, executable).map_err(Error::file("write", &path))
    }

    /// Creates a folder, which is removed with its contents when the returned value is dropped.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn temporary_folder(&self) -> Result<tempfile::TempDir, Error> {
        let folder = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(&self.path);
        folder.map_err(Error::file("make a folder in", &self.path))
    }

    /// Gives this run its own file of a kernel, so that a later build cannot change the file that was booted. A user's kernel is
    /// copied. A kernel that the launcher has built is linked: a build replaces such a file and never changes it.
    ///
    /// # Errors
    /// The file can be neither linked nor copied.
    pub fn adopt(&self, file: &Path, name: &str, is_users: bool) -> Result<PathBuf, Error> {
        let own = self.file(name);
        let put = if is_users { output::copy } else { output::link_or_copy };
        put(file, &own).map_err(Error::copy(file, &own))?;
        Ok(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_keeps_the_kernel_that_it_booted() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = folder.path().join("k");
        fs::write(&kernel, "old").unwrap();
        let run = RunFolder::take(&folder.path().join("out")).unwrap();
        let own = run.adopt(&kernel, "octopod-kernel", false).unwrap();
        fs::write(folder.path().join("new"), "new").unwrap();
        fs::rename(folder.path().join("new"), &kernel).unwrap();
        assert_eq!(fs::read_to_string(own).unwrap(), "old");
        // The user's own may be written to as it is.
        let copy = run.adopt(&kernel, "octopod-symbols", true).unwrap();
        fs::write(&kernel, "changed").unwrap();
        assert_eq!(fs::read_to_string(copy).unwrap(), "new");
    }
}
