//! Files that the user names: read only if they are files, and no larger than they can be.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::error::Error;
use crate::interrupt;

/// How much is read at once; a signal is noticed in between.
const CHUNK_BYTES: u64 = 1 << 20;

/// Reads a regular file of at most `limit` bytes. A pipe or a device would keep the launcher waiting for who writes to it.
///
/// # Errors
/// It is something else, or larger, or cannot be read; or a signal came.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let failed = |source: io::Error| Error::file("read", path)(source);
    let about = std::fs::metadata(path).map_err(failed)?;
    if !about.is_file() {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    let too_large = || {
        let mib = limit >> 20;
        failed(io::Error::other(format!("it is larger than {mib} MiB, which no such file is")))
    };
    if about.len() > limit {
        return Err(too_large());
    }
    let mut file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0));
    // It may grow meanwhile.
    while file.by_ref().take(CHUNK_BYTES).read_to_end(&mut bytes).map_err(failed)? > 0 {
        if interrupt::requested() {
            return Err(Error::Interrupted);
        }
        if bytes.len() as u64 > limit {
            return Err(too_large());
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_within_the_limit_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "text").unwrap();
        assert_eq!(read(&file, 4).unwrap(), b"text");
        let refused = |path: &Path, limit| read(path, limit).unwrap_err().to_string();
        assert!(refused(&file, 3).ends_with("it is larger than 0 MiB, which no such file is"));
        assert!(refused(folder.path(), 9).ends_with("it is not a regular file"));
        assert!(refused(Path::new("/dev/zero"), 9).ends_with("it is not a regular file"));
        assert!(refused(&folder.path().join("none"), 9).contains("No such file"));
    }
}
