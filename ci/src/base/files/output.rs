//! Writes files completely or not at all: the data goes to a new file beside the target, which is then renamed. A full disk, a
//! limit or a signal leaves the old file. Another hard link to the old file keeps its contents.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, OFlags, access};
use tempfile::NamedTempFile;

use crate::base::interrupt;

/// Begins and ends the name of a file that is not whole yet.
const PART_PREFIX: &str = ".octopod-";
const PART_SUFFIX: &str = ".part";

/// A pipe whose reader takes nothing for so long has none that matters.
const STREAM_LIMIT: Duration = Duration::from_secs(30);
/// The period at which a wait for a pipe's reader checks for an interrupt.
const STREAM_TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Linux's device that is always full.
const DEV_FULL: (u32, u32) = (1, 7);

/// The way in which a name can be written to.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// By a new file of this name.
    File(PathBuf),
    /// As it is: a pipe, a terminal, a device.
    Stream(PathBuf),
}

/// Writes all of `bytes` to `path`, or changes nothing there. Symbolic links are followed. A pipe or device gets the bytes.
///
/// # Errors
/// The system's error; the folder must exist.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_by(path, |file| file.write_all(bytes))
}

/// The same for what `fill` writes.
///
/// # Errors
/// Those of `fill`, and of [`write()`].
pub fn write_by(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    match target(path)? {
        Target::File(path) => {
            let mut part = io::BufWriter::new(part(folder_of(&path))?);
            fill(&mut part)?;
            part.into_inner()?.persist(path)?;
            Ok(())
        }
        Target::Stream(path) => {
            let mut stream = Stream::open(&path)?;
            fill(&mut stream)
        }
    }
}

/// Copies a regular file to `path`, which keeps nothing of what was there: not its contents, nor its links.
///
/// # Errors
/// The system's error.
pub fn copy(from: &Path, path: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut part = part(folder_of(path))?;
    io::copy(&mut source, part.as_file_mut())?;
    part.persist(path)?;
    Ok(())
}

/// Gives a regular file another name, or copies it where the system has no links; `path` is replaced. For files that are
/// themselves only ever replaced, never written to.
///
/// # Errors
/// The system's error.
pub fn link_or_copy(from: &Path, path: &Path) -> io::Result<()> {
    let _ = fs::remove_file(path);
    fs::hard_link(from, path).or_else(|_| copy(from, path))
}

/// Opens a new file at `path`; one that was there is no longer of this name, and is not changed.
///
/// # Errors
/// The system's error.
pub fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Checks that [`write()`] could write `path` now, as far as can be known without doing so. Removes what a launcher that
/// was killed has left beside it.
///
/// # Errors
/// Why not.
pub fn check(path: &Path) -> io::Result<()> {
    match target(path)? {
        Target::File(path) => check_folder(folder_of(&path)),
        Target::Stream(path) => {
            let metadata = fs::metadata(&path)?;
            let device = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
            if cfg!(target_os = "linux") && metadata.file_type().is_char_device() && device == DEV_FULL {
                return Err(rustix::io::Errno::NOSPC.into());
            }
            Ok(access(&path, Access::WRITE_OK)?)
        }
    }
}

/// Checks that files can be made in a folder, or the folder itself where it is missing.
///
/// # Errors
/// Why not.
pub fn check_folder(folder: &Path) -> io::Result<()> {
    sweep(folder);
    part(folder).map(drop)
}

/// Checks that a folder can be made and written to; the parts of its path that are missing may be.
///
/// # Errors
/// Why not.
pub fn check_new_folder(folder: &Path) -> io::Result<()> {
    let absolute = std::path::absolute(folder)?;
    for existing in absolute.ancestors() {
        match fs::metadata(existing) {
            Ok(metadata) if metadata.is_dir() => return check_folder(existing),
            Ok(_) => return Err(io::Error::new(ErrorKind::NotADirectory, "it is no folder")),
            Err(error) if error.kind() == ErrorKind::NotFound && fs::symlink_metadata(existing).is_err() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes files that were never finished, because a launcher was killed.
pub fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let is_part = |name: &OsStr| {
            let name = name.as_encoded_bytes();
            name.starts_with(PART_PREFIX.as_bytes()) && name.ends_with(PART_SUFFIX.as_bytes())
        };
        if !is_part(&name) {
            continue;
        }
        // The writer holds the lock of the file.
        let is_left = File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if is_left {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A file that is not whole yet; dropped, it is gone.
fn part(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PART_PREFIX).suffix(PART_SUFFIX);
    // Temporary files are readable by their owner alone; the file that this one becomes has the permissions of any new file.
    builder.permissions(Permissions::from_mode(0o644));
    let part = builder.tempfile_in(folder).map_err(without_path)?;
    // Where the file system has no locks, nothing is swept either.
    let _ = part.as_file().try_lock();
    Ok(part)
}

/// Removes the path of a temporary file, which the user does not know, from an error of the system.
fn without_path(error: io::Error) -> io::Error {
    let system = error.get_ref().and_then(|error| error.source()?.downcast_ref::<io::Error>());
    let code = system.and_then(io::Error::raw_os_error);
    code.map_or(error, io::Error::from_raw_os_error)
}

/// The folder of a file; of a path of one component, `.`: its parent is an empty path, which names nothing.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn target(path: &Path) -> io::Result<Target> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return new_target(path),
        Err(error) => return Err(error),
    };
    match metadata.file_type() {
        kind if kind.is_file() => Ok(Target::File(fs::canonicalize(path)?)),
        kind if kind.is_dir() => Err(io::Error::new(ErrorKind::IsADirectory, "it is a folder")),
        kind if kind.is_socket() => Err(io::Error::new(ErrorKind::InvalidInput, "it is a socket")),
        _ => Ok(Target::Stream(path.to_owned())),
    }
}

/// Of a name that names nothing: itself, or what a link of that name leads to.
fn new_target(path: &Path) -> io::Result<Target> {
    if path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(io::Error::new(ErrorKind::NotFound, "it names no file"));
    }
    match fs::read_link(path) {
        // A link to a broken link is left alone.
        Ok(link) => Ok(Target::File(folder_of(path).join(link))),
        Err(_) => Ok(Target::File(path.to_owned())),
    }
}

/// A pipe or device that is written to for as long as something reads from it.
struct Stream {
    file: File,
}

impl Stream {
    /// A FIFO that no process reads from is refused, not waited for.
    fn open(path: &Path) -> io::Result<Stream> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
        Ok(Stream { file })
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let deadline = Instant::now() + STREAM_LIMIT;
        loop {
            match self.file.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            if interrupt::requested() || Instant::now() >= deadline {
                return Err(io::Error::new(ErrorKind::TimedOut, "nothing reads from it"));
            }
            poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&STREAM_TICK))?;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_another_name_shares_is_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        let [mine, other, copied] = ["mine", "other", "copied"].map(|name| folder.path().join(name));
        for rewrite in [
            &(|path: &Path| write(path, b"new").unwrap()) as &dyn Fn(&Path),
            &|path| copy(Path::new("/proc/self/comm"), path).unwrap(),
            &|path| drop(create(path).unwrap()),
        ] {
            fs::write(&mine, "old").unwrap();
            let _ = fs::remove_file(&other);
            fs::hard_link(&mine, &other).unwrap();
            rewrite(&other);
            assert_eq!(fs::read_to_string(&mine).unwrap(), "old");
            assert_ne!(fs::read_to_string(&other).unwrap(), "old");
        }
        fs::remove_file(&other).unwrap();
        write(&copied, b"x").unwrap();
        assert_eq!(names(folder.path()), ["copied", "mine"]);
        assert_eq!(fs::metadata(&copied).unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[test]
    fn what_fails_half_way_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "old").unwrap();
        let full = |out: &mut dyn Write| {
            out.write_all(b"half")?;
            Err(io::Error::from(ErrorKind::StorageFull))
        };
        assert_eq!(write_by(&file, full).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!((fs::read_to_string(&file).unwrap().as_str(), names(folder.path()).len()), ("old", 1));
    }

    #[test]
    fn what_cannot_be_written_is_known_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        for (path, kind) in [
            (folder.path().to_owned(), ErrorKind::IsADirectory),
            (folder.path().join("missing/file"), ErrorKind::NotFound),
            (folder.path().join("missing/"), ErrorKind::NotFound),
            ("/dev/full".into(), ErrorKind::StorageFull),
            ("".into(), ErrorKind::NotFound),
        ] {
            assert_eq!(check(&path).unwrap_err().kind(), kind, "{}", path.display());
        }
        for path in [file.as_path(), Path::new("/dev/null")] {
            check(path).unwrap();
        }
        assert!(names(folder.path()).is_empty());
        fs::write(&file, "").unwrap();
        check(&file).unwrap();
        assert_eq!(check_new_folder(&file).unwrap_err().kind(), ErrorKind::NotADirectory);
        assert_eq!(check_new_folder(&file.join("x")).unwrap_err().kind(), ErrorKind::NotADirectory);
        check_new_folder(&folder.path().join("a/b")).unwrap();
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let [link, file] = ["link", "file"].map(|name| folder.path().join(name));
        symlink("file", &link).unwrap();
        for text in ["first", "second"] {
            write(&link, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_pipe_gets_the_bytes_and_one_without_a_reader_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        assert!(write(&fifo, b"x").is_err());
        // More than a pipe holds.
        let bytes = vec![7; 300_000];
        let reader = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::read(fifo).unwrap()
        });
        while write(&fifo, &bytes).is_err() {
            std::thread::yield_now();
        }
        assert_eq!(reader.join().unwrap(), bytes);
    }

    #[test]
    fn files_that_were_never_finished_are_swept_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let at_work = part(folder.path()).unwrap();
        let own = at_work.path().file_name().unwrap().to_str().unwrap().to_owned();
        for name in [".octopod-left.part", ".octopod-mine", "x.part"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        sweep(folder.path());
        let mut expected = vec![".octopod-mine".to_owned(), own, "x.part".to_owned()];
        expected.sort();
        assert_eq!(names(folder.path()), expected);
    }
}
