//! Where runs keep their files: a folder for each, the newest of them also under the name `latest`.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

pub use crate::checkout::Workspace;
use crate::error::Error;
use crate::page;

/// Older run folders are removed.
const RUNS_KEPT: usize = 50;

/// The folder of one run.
#[derive(Clone, Debug)]
pub struct RunDir {
    /// Where it is.
    pub path: PathBuf,
}

impl RunDir {
    /// Makes the folder for a run of `mode`, or takes the one that the user names.
    pub fn create(workspace: &Workspace, mode: &str, named: Option<&Path>) -> Result<RunDir, Error> {
        if let Some(path) = named {
            fs::create_dir_all(path).map_err(Error::file("make the folder", path))?;
            // QEMU is told of files in it, and the run's script is to work from anywhere.
            let path = fs::canonicalize(path).map_err(Error::file("find", path))?;
            // An earlier run's must not be taken for this one's.
            for name in ["report.json", "registers.txt", page::FILE].into_iter().chain(page::PICTURES) {
                let _ = fs::remove_file(path.join(name));
            }
            return Ok(RunDir { path });
        }
        let runs = workspace.own().join("runs");
        let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ");
        let name = make_new(&runs, &format!("{stamp}-{mode}-{}", std::process::id()))?;
        let path = runs.join(&name);
        // Neither a link that another run is replacing nor a folder that it is removing matters to this run.
        let _ = point_latest_to(&workspace.own(), &name);
        let _ = remove_old(&runs);
        Ok(RunDir { path })
    }

    /// A file of this run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a new file of this run for writing.
    pub fn open(&self, name: &str) -> Result<fs::File, Error> {
        let path = self.file(name);
        fs::File::create(&path).map_err(Error::file("write", path))
    }

    /// Writes a file of this run that can be executed.
    pub fn write_script(&self, name: &str, text: &[u8]) -> Result<(), Error> {
        let path = self.file(name);
        let write = || {
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        };
        write().map_err(Error::file("write", &path))
    }

    /// Gives this run its own name for the kernel, so that a later build cannot change what it booted.
    pub fn adopt(&self, kernel: &Path) -> Result<PathBuf, Error> {
        let own = self.file("octopod-kernel");
        let _ = fs::remove_file(&own);
        if fs::hard_link(kernel, &own).is_err() {
            fs::copy(kernel, &own).map_err(Error::file("copy", kernel))?;
        }
        Ok(own)
    }
}

/// Makes a folder that was not there; its name. One process may begin several runs within a millisecond.
fn make_new(runs: &Path, name: &str) -> Result<String, Error> {
    fs::create_dir_all(runs).map_err(Error::file("make the folder", runs))?;
    let mut number = 1_u32;
    loop {
        let name = if number == 1 { name.to_owned() } else { format!("{name}.{number}") };
        number += 1;
        let path = runs.join(&name);
        match fs::create_dir(&path) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::file("make the folder", &path)(error)),
        }
    }
}

fn point_latest_to(folder: &Path, run: &str) -> io::Result<()> {
    let new = folder.join(format!("latest.{run}"));
    let _ = fs::remove_file(&new);
    symlink(Path::new("runs").join(run), &new)?;
    fs::rename(&new, folder.join("latest"))
}

/// The names begin with the time, so their order is the runs'.
fn remove_old(runs: &Path) -> io::Result<()> {
    let mut names: Vec<_> =
        fs::read_dir(runs)?.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
    names.sort_unstable();
    for old in names.iter().rev().skip(RUNS_KEPT) {
        fs::remove_dir_all(runs.join(old))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_runs_are_kept_and_the_last_is_latest() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace { root: folder.path().into(), target: folder.path().join("target") };
        let runs = workspace.own().join("runs");
        for number in 0..RUNS_KEPT + 7 {
            fs::create_dir_all(runs.join(format!("20000101T000000{number:03}Z-boot-1"))).unwrap();
        }
        let run = RunDir::create(&workspace, "boot", None).unwrap();
        assert_eq!(fs::read_dir(&runs).unwrap().count(), RUNS_KEPT);
        assert!(!runs.join("20000101T000000000Z-boot-1").exists());
        let latest = fs::canonicalize(workspace.own().join("latest")).unwrap();
        assert_eq!(latest, fs::canonicalize(&run.path).unwrap());
    }

    #[test]
    fn runs_that_begin_at_once_have_folders_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<_> =
            (0..20).map(|_| make_new(folder.path(), "20000101T000000000Z-boot-1").unwrap()).collect();
        assert_eq!(names[..2], ["20000101T000000000Z-boot-1", "20000101T000000000Z-boot-1.2"]);
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
    }

    #[test]
    fn a_run_keeps_the_kernel_that_it_booted() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = folder.path().join("k");
        fs::write(&kernel, "old").unwrap();
        let workspace = Workspace { root: folder.path().into(), target: folder.path().into() };
        let run = RunDir::create(&workspace, "boot", Some(&folder.path().join("out"))).unwrap();
        let own = run.adopt(&kernel).unwrap();
        fs::write(folder.path().join("new"), "new").unwrap();
        fs::rename(folder.path().join("new"), &kernel).unwrap();
        assert_eq!(fs::read_to_string(own).unwrap(), "old");
    }
}
