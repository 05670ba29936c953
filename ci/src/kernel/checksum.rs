//! Writes the kernel's checksum into its file. rt0 compares it, so a damaged kernel does not run.

use std::ops::Range;

use object::{Object, ObjectSegment, ObjectSymbol};

/// The symbol of the word that holds the checksum; the linker leaves it 0, which rt0 takes for none.
const CHECKSUM: &str = "rt0_checksum";
/// The symbols of the first byte that counts, and of the first that does not any more.
const SEALED: [&str; 2] = ["checksum_start", "checksum_end"];

/// The reason why a file cannot get a checksum.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    /// Not an ELF file.
    #[error("{0}")]
    NotElf(#[from] object::Error),
    /// A symbol is missing.
    #[error("it has no symbol {0}")]
    NoSymbol(&'static str),
    /// An address that no loaded part of the file covers.
    #[error("its address {0:#x} lies in no loaded part of the file")]
    NotInFile(u64),
}

/// Returns the file with its checksum filled in.
///
/// # Errors
/// The file has no place for a checksum, or is not an ELF file that the boot accepts.
pub fn with_checksum(mut elf: Vec<u8>) -> Result<Vec<u8>, ChecksumError> {
    let (place, checksum) = checksum(&elf)?;
    elf[place].copy_from_slice(&checksum.to_le_bytes());
    Ok(elf)
}

/// Returns the place of the checksum in the file, and its value: Adler-32 over what a loader lays between the two symbols.
fn checksum(elf: &[u8]) -> Result<(Range<usize>, u32), ChecksumError> {
    let file = object::File::parse(elf)?;
    let address = |name| {
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name));
        symbol.map(|symbol| symbol.address()).ok_or(ChecksumError::NoSymbol(name))
    };
    // The part of the file that a loader puts at `from`, up to `to` at most.
    let part = |from: u64, to: u64| {
        let mut loaded = file.segments().map(|segment| (segment.address(), segment.file_range()));
        let (start, (at, bytes)) = loaded
            .find(|(start, (_, bytes))| (*start..start + bytes).contains(&from))
            .ok_or(ChecksumError::NotInFile(from))?;
        let bytes = (to - from).min(start + bytes - from);
        let at = (at + from - start) as usize;
        elf.get(at..at + bytes as usize)
            .map(|_| at..at + bytes as usize)
            .ok_or(ChecksumError::NotInFile(from))
    };
    let [mut from, to] = [address(SEALED[0])?, address(SEALED[1])?];
    let mut adler = adler2::Adler32::new();
    while from < to {
        let bytes = part(from, to)?;
        from += bytes.len() as u64;
        adler.write_slice(&elf[bytes]);
    }
    let place = address(CHECKSUM)?;
    let word = part(place, place + 4)?;
    if word.len() == 4 { Ok((word, adler.checksum())) } else { Err(ChecksumError::NotInFile(place)) }
}
