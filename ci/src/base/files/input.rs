//! Reads files that the user names. Each must be a regular file of a bounded size.

use std::fs::{File, FileType, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::base::Error;

/// Opens a regular file of at most `most` bytes. A FIFO is refused, not waited for.
///
/// # Errors
/// The file cannot be opened, is none, or is larger.
pub fn open(path: &Path, most: u64) -> Result<File, Error> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = file.map_err(Error::file("read", path))?;
    let metadata = file.metadata().map_err(Error::file("read", path))?;
    if !metadata.is_file() {
        return Err(Error::NotAFile { path: path.to_owned(), kind: kind(metadata.file_type()) });
    }
    if metadata.len() > most {
        return Err(too_large(path, metadata.len(), most));
    }
    Ok(file)
}

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// As for [`open`]; or the file cannot be read, or grows meanwhile.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let file = open(path, most)?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(Error::file("read", path))?;
    match bytes.len() as u64 {
        length if length > most => Err(too_large(path, length, most)),
        _ => Ok(bytes),
    }
}

fn too_large(path: &Path, bytes: u64, most: u64) -> Error {
    let path = path.display();
    Error::Usage(format!("cannot read {path}: it has {bytes} bytes, and at most {most} are read"))
}

/// The kind of a file that is not regular.
pub(super) fn kind(file_type: FileType) -> &'static str {
    match file_type {
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "of another kind",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_a_regular_file_of_the_size_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "12345").unwrap();
        assert_eq!(read(&file, 5).unwrap(), b"12345");
        let refusal = |path: &Path, most| read(path, most).unwrap_err().to_string();
        assert!(refusal(&file, 4).contains("5 bytes"), "{}", refusal(&file, 4));
        assert!(refusal(folder.path(), 9).ends_with("but a folder"), "{}", refusal(folder.path(), 9));
        assert!(refusal(Path::new("/dev/zero"), 9).ends_with("but a device"));
        assert!(refusal(Path::new("/nonexistent"), 9).contains("cannot read"));
    }

    #[test]
    fn a_fifo_without_a_writer_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        assert!(matches!(read(&fifo, 9), Err(Error::NotAFile { kind: "a FIFO", .. })));
    }
}
