//! The folders of runs: one for each run, the newest also under the name `latest`. A run holds the lock of its folder, so no
//! other run writes to it or removes it.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::base::files::run_folder::TEMPORARY;
use crate::base::files::{FolderLock, RunFolder, output};
use crate::base::{Error, Workspace};
use crate::machine::emulator::TRACE_STREAM;
use crate::machine::media::MODULES;
use crate::run::debugger;

/// The report, for programs.
pub const REPORT: &str = "report.json";

/// The page.
pub const PAGE: &str = "report.html";

/// The pictures of the page, each by itself.
pub const PICTURES: [&str; 8] = [
    "stages.svg",
    "boot.svg",
    "memory.svg",
    "operations.svg",
    "scaling.svg",
    "latency.svg",
    "fragmentation.svg",
    "lateness.svg",
];

/// The trace, for its viewers.
pub const TRACE: &str = "trace.json";

/// The files of a run besides its pictures.
const OTHERS: [&str; 24] = [
    REPORT,
    PAGE,
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
    MODULES,
    TRACE_STREAM,
    TRACE,
    "registers.txt",
    debugger::SCRIPT,
    debugger::COMMANDS_FILE,
    "qemu-held",
    "cargo.log",
];

/// All files that a run may write into its folder.
pub fn files() -> impl Iterator<Item = &'static str> {
    OTHERS.into_iter().chain(PICTURES)
}

/// Makes the folder for a run of `command`, or takes the one that the user names.
///
/// # Errors
/// Another run has it, or it cannot be made.
pub fn create(workspace: &Workspace, command: &str, named: Option<&Path>) -> Result<RunFolder, Error> {
    if let Some(path) = named {
        let folder = RunFolder::take(path)?;
        remove_earlier(&folder.path)?;
        return Ok(folder);
    }
    let runs = runs(workspace);
    let stamp = chrono::Utc::now().format("%Y%m%dT%H%M%S%3fZ");
    let name = make_new(&runs, &format!("{stamp}-{command}-{}", std::process::id()))?;
    let folder = RunFolder::take(&runs.join(&name))?;
    // A link that another run is replacing does not matter to this run.
    let _ = point_latest_to(&workspace.own(), &name);
    Ok(folder)
}

/// Removes what an earlier run has left in a folder: it must not be taken for this run's, nor be written to while another
/// name leads to it. Files of other names are not touched.
fn remove_earlier(folder: &Path) -> Result<(), Error> {
    for name in files() {
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
        Workspace {
            root: folder.path().into(),
            target: folder.path().join("target"),
            kind: crate::base::WorkspaceKind::Checkout,
        }
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
        let run = create(&workspace, "boot", None).unwrap();
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
        let first = create(&workspace, "boot", Some(&out)).unwrap();
        fs::write(first.file("serial.log"), "first").unwrap();
        let second = create(&workspace, "boot", Some(&out));
        assert!(matches!(second, Err(Error::FolderBusy { .. })), "{second:?}");
        assert!(first.file("serial.log").exists());
        drop(first);
        create(&workspace, "boot", Some(&out)).unwrap();
    }

    #[test]
    fn an_earlier_runs_files_go_and_the_users_own_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (workspace, out) = (workspace(&folder), folder.path().join("out"));
        fs::create_dir_all(out.join("kept")).unwrap();
        fs::create_dir_all(out.join(".octopod-left/boot")).unwrap();
        for name in ["serial.log", "mine.txt", "kept/mine"] {
            fs::write(out.join(name), "").unwrap();
        }
        let other = folder.path().join("other.log");
        fs::hard_link(out.join("serial.log"), &other).unwrap();
        let run = create(&workspace, "boot", Some(&out)).unwrap();
        io::Write::write_all(&mut run.open("serial.log").unwrap(), b"new").unwrap();
        assert!(out.join("mine.txt").exists() && out.join("kept/mine").exists());
        assert!(!out.join(".octopod-left").exists());
        assert_eq!(fs::read(other).unwrap(), b"");
    }
}
