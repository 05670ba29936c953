//! Where runs keep their files: a folder for each, the newest of them also under the name `latest`. A run holds the lock of
//! its folder, so that no other writes to it, and none removes it as an old one.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::checkout::Workspace;
use crate::base::error::Error;
use crate::base::files::{FolderLock, output};
use crate::present::page;

/// All files that a run may write into its folder.
pub const FILES: [&str; 29] = {
    let mut all = [""; 29];
    let own = [
        "report.json",
        page::FILE,
        "serial.log",
        "qemu.log",
        "qemu.sh",
        "bochs.log",
        "bochs.sh",
        "bochs.out",
        "bochs.commands",
        "bochsrc",
        "octopod-kernel",
        "octopod-symbols",
        "octopod-multiboot1",
        "octopod.iso",
        "ovmf-variables.fd",
        "replay.trace",
        "trace.bin",
        "trace.json",
        "registers.txt",
        "debug.gdb",
        "qemu-held",
        "cargo.log",
    ];
    assert!(own.len() + page::PICTURES.len() == all.len(), "each file has its place");
    let mut at = 0;
    while at < all.len() {
        all[at] = if at < own.len() { own[at] } else { page::PICTURES[at - own.len()] };
        at += 1;
    }
    all
};

/// Begins the names of folders in a run's folder that are gone when the run has ended.
const TEMPORARY: &str = ".octopod-";

/// The folder of one run. As long as a copy of this lives, the run has not ended.
#[derive(Clone, Debug)]
pub struct RunDir {
    /// Where it is.
    pub path: PathBuf,
    _lock: Arc<FolderLock>,
}

impl RunDir {
    /// Makes the folder for a run of `mode`, or takes the one that the user names.
    ///
    /// # Errors
    /// Another run has it, or it cannot be made.
    pub fn create(workspace: &Workspace, mode: &str, named: Option<&Path>) -> Result<RunDir, Error> {
        if let Some(path) = named {
            fs::create_dir_all(path).map_err(Error::file("make the folder", path))?;
            // QEMU is told of files in it, and the run's script is to work from anywhere.
            let path = fs::canonicalize(path).map_err(Error::file("find", path))?;
            let lock = Arc::new(FolderLock::take(&path)?);
            remove_earlier(&path)?;
            return Ok(RunDir { path, _lock: lock });
        }
        let runs = runs(workspace);
        let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ");
        let name = make_new(&runs, &format!("{stamp}-{mode}-{}", std::process::id()))?;
        let path = runs.join(&name);
        let lock = Arc::new(FolderLock::take(&path)?);
        // A link that another run is replacing does not matter to this run.
        let _ = point_latest_to(&workspace.own(), &name);
        Ok(RunDir { path, _lock: lock })
    }

    /// A file of this run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a new file of this run for writing.
    pub fn open(&self, name: &str) -> Result<fs::File, Error> {
        let path = self.file(name);
        output::create(&path).map_err(Error::file("write", path))
    }

    /// Writes a file of this run.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
        let path = self.file(name);
        output::write(&path, bytes).map_err(Error::file("write", &path))?;
        Ok(path)
    }

    /// Writes a file of this run that can be executed.
    pub fn write_script(&self, name: &str, text: &[u8]) -> Result<(), Error> {
        let path = self.write(name, text)?;
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&path, executable).map_err(Error::file("write", &path))
    }

    /// Makes a folder that is gone, with all in it, when what is returned is dropped.
    pub fn temporary_folder(&self) -> Result<tempfile::TempDir, Error> {
        let folder = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(&self.path);
        folder.map_err(Error::file("make a folder in", &self.path))
    }

    /// Gives this run its own file of a kernel, so that a later build cannot change what it booted: a copy of the user's,
    /// and another name for one that the launcher has built, which no build changes but replaces.
    pub fn adopt(&self, file: &Path, name: &str, is_users: bool) -> Result<PathBuf, Error> {
        let own = self.file(name);
        let put = if is_users { output::copy } else { output::link_or_copy };
        put(file, &own).map_err(Error::file("copy", file))?;
        Ok(own)
    }
}

/// Removes what an earlier run has left in a folder: it must not be taken for this run's, nor be written to while another
/// name leads to it. Files of other names are not touched.
fn remove_earlier(folder: &Path) -> Result<(), Error> {
    for name in FILES {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound && !path.is_dir() => {
                return Err(Error::file("remove", path)(error));
            }
            _ => {}
        }
    }
    output::sweep(folder);
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    for entry in
        entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()))
    {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// The folder of the folders that are made for runs whose user names none.
fn runs(workspace: &Workspace) -> PathBuf {
    workspace.own().join("runs")
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

/// Removes all but the newest `keep` folders of runs, and those of runs that have not ended or that have a file of `in_use`.
/// Returns how many it has removed.
pub fn prune<'a>(workspace: &Workspace, keep: usize, in_use: impl Iterator<Item = &'a Path>) -> usize {
    let runs = runs(workspace);
    let in_use: Vec<PathBuf> = in_use.filter_map(|path| fs::canonicalize(path).ok()).collect();
    let Ok(entries) = fs::read_dir(&runs) else { return 0 };
    let mut names: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
    // The names begin with the time, so their order is the runs'.
    names.sort_unstable();
    let old = names.iter().rev().skip(keep).map(|name| runs.join(name));
    let is_free = |folder: &PathBuf| {
        let real = fs::canonicalize(folder).unwrap_or_default();
        !FolderLock::is_held(folder) && !in_use.iter().any(|path| path.starts_with(&real))
    };
    old.filter(is_free).filter(|folder| fs::remove_dir_all(folder).is_ok()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(folder: &tempfile::TempDir) -> Workspace {
        Workspace { root: folder.path().into(), target: folder.path().join("target") }
    }

    #[test]
    fn the_newest_runs_are_kept_and_those_in_use_and_the_last_is_latest() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = workspace(&folder);
        let runs = runs(&workspace);
        let name = |number: usize| format!("20000101T000000{number:03}Z-boot-1");
        (0..57).for_each(|number| fs::create_dir_all(runs.join(name(number))).unwrap());
        // The oldest has not ended, and the next has a file that this run reads.
        let at_work = FolderLock::take(&runs.join(name(0))).unwrap();
        let kernel = runs.join(name(1)).join("octopod-kernel");
        fs::write(&kernel, "").unwrap();
        let run = RunDir::create(&workspace, "boot", None).unwrap();
        assert_eq!(prune(&workspace, 50, [kernel.as_path()].into_iter()), 6);
        assert_eq!(fs::read_dir(&runs).unwrap().count(), 52);
        assert!(runs.join(name(0)).exists() && kernel.exists() && !runs.join(name(2)).exists());
        let latest = fs::canonicalize(workspace.own().join("latest")).unwrap();
        assert_eq!(latest, fs::canonicalize(&run.path).unwrap());
        drop(at_work);
        assert_eq!(prune(&workspace, 1, std::iter::empty()), 51);
        assert!(run.path.exists());
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
    fn two_runs_do_not_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (workspace, out) = (workspace(&folder), folder.path().join("out"));
        let first = RunDir::create(&workspace, "boot", Some(&out)).unwrap();
        fs::write(first.file("serial.log"), "first").unwrap();
        let second = RunDir::create(&workspace, "boot", Some(&out));
        assert!(matches!(second, Err(Error::FolderBusy { .. })), "{second:?}");
        assert!(first.file("serial.log").exists());
        drop(first);
        RunDir::create(&workspace, "boot", Some(&out)).unwrap();
    }

    #[test]
    fn an_earlier_runs_files_go_and_the_users_own_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (workspace, out) = (workspace(&folder), folder.path().join("out"));
        fs::create_dir_all(out.join("disc")).unwrap();
        fs::create_dir_all(out.join(".octopod-left/boot")).unwrap();
        for name in ["serial.log", "mine.txt", "disc/mine"] {
            fs::write(out.join(name), "").unwrap();
        }
        let other = folder.path().join("other.log");
        fs::hard_link(out.join("serial.log"), &other).unwrap();
        let run = RunDir::create(&workspace, "boot", Some(&out)).unwrap();
        io::Write::write_all(&mut run.open("serial.log").unwrap(), b"new").unwrap();
        assert!(out.join("mine.txt").exists() && out.join("disc/mine").exists());
        assert!(!out.join(".octopod-left").exists());
        assert_eq!(fs::read(other).unwrap(), b"");
    }

    #[test]
    fn a_run_keeps_the_kernel_that_it_booted() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = folder.path().join("k");
        fs::write(&kernel, "old").unwrap();
        let run = RunDir::create(&workspace(&folder), "boot", Some(&folder.path().join("out"))).unwrap();
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
