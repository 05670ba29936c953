//! Several modules in one file, for loaders that pass one file without a name: QEMU's `-initrd`.
//!
//! | offset | size | content |
//! |---|---|---|
//! | 0 | 16 | [`MAGIC`] |
//! | 16 | 4 | the number of files |
//! | 32 | [`ENTRY_BYTES`] for each | the name, padded with zeros to [`NAME_BYTES`]; the offset of the file, its length |
//!
//! Integers are little-endian. The launcher puts each file at a multiple of 4 KiB, so that it begins a page of memory.

use crate::wire::little_endian::{read_u32, read_u64};

/// The first bytes of an archive.
pub const MAGIC: [u8; 16] = *b"octopod modules\n";

/// The most files in an archive, and the most modules of a boot.
pub const MAX_MODULES: usize = 32;

/// The longest name, in bytes.
pub const NAME_BYTES: usize = 48;

/// The bytes of an entry.
pub const ENTRY_BYTES: usize = NAME_BYTES + 16;

/// The offset of the first entry.
pub const ENTRIES_OFFSET: usize = 32;

/// The alignment of the files.
pub const ALIGN: usize = 4096;

/// An archive whose entries have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Archive<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Archive<'a> {
    /// Reads an archive. `None` if the bytes are none: another magic, too many files, or a file outside of the bytes.
    ///
    /// **Context:** any.
    pub fn parse(bytes: &'a [u8]) -> Option<Archive<'a>> {
        let is_archive = bytes.starts_with(&MAGIC);
        let count = read_u32(bytes, MAGIC.len()).filter(|_| is_archive)? as usize;
        let is_valid = count <= MAX_MODULES && (0..count).all(|index| entry(bytes, index).is_some());
        is_valid.then_some(Archive { bytes, count })
    }

    /// Returns the name and the contents of each file.
    ///
    /// **Context:** any.
    pub fn files(self) -> impl Iterator<Item = (&'a str, &'a [u8])> + Clone {
        (0..self.count).filter_map(move |index| entry(self.bytes, index))
    }
}

fn entry(bytes: &[u8], index: usize) -> Option<(&str, &[u8])> {
    let entry = bytes.get(ENTRIES_OFFSET + index * ENTRY_BYTES..)?.get(..ENTRY_BYTES)?;
    let name = entry.get(..NAME_BYTES)?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
    let field = |offset| usize::try_from(read_u64(entry, offset)?).ok();
    let (start, length) = (field(NAME_BYTES)?, field(NAME_BYTES + 8)?);
    Some((core::str::from_utf8(&name[..end]).ok()?, bytes.get(start..)?.get(..length)?))
}

/// Returns the name of a module by the text that its loader passes with it: the last word, without the folders of a path. GRUB passes
/// the words behind the file's name, QEMU the file's name.
///
/// **Context:** any.
pub fn name_in(text: &[u8]) -> &str {
    let text = core::str::from_utf8(text).unwrap_or_default();
    let word = text.split_ascii_whitespace().next_back().unwrap_or_default();
    word.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn archive(files: &[(&str, u64, u64)], bytes: usize) -> Vec<u8> {
        let mut archive = vec![0; bytes];
        archive[..MAGIC.len()].copy_from_slice(&MAGIC);
        archive[MAGIC.len()] = files.len() as u8;
        for (index, (name, start, length)) in files.iter().enumerate() {
            let at = ENTRIES_OFFSET + index * ENTRY_BYTES;
            archive[at..][..name.len()].copy_from_slice(name.as_bytes());
            archive[at + NAME_BYTES..][..8].copy_from_slice(&start.to_le_bytes());
            archive[at + NAME_BYTES + 8..][..8].copy_from_slice(&length.to_le_bytes());
        }
        archive
    }

    #[test]
    fn each_file_has_its_name_and_its_bytes() {
        let mut bytes = archive(&[("a", 4096, 2), ("empty", 8192, 0)], 8192);
        bytes[4096..4098].copy_from_slice(b"hi");
        let files: Vec<_> = Archive::parse(&bytes).unwrap().files().collect();
        assert_eq!(files, [("a", &b"hi"[..]), ("empty", &b""[..])]);
    }

    #[test]
    fn a_file_outside_of_the_archive_is_refused() {
        for (start, length) in [(4096, 1), (4097, 0), (0, 4097), (u64::MAX, 2), (2, u64::MAX)] {
            assert!(Archive::parse(&archive(&[("a", start, length)], 4096)).is_none(), "{start} {length}");
        }
        let mut bytes = archive(&[], 4096);
        bytes[MAGIC.len()] = MAX_MODULES as u8 + 1;
        assert!(Archive::parse(&bytes).is_none());
        assert!(Archive::parse(b"octopod modules").is_none());
    }

    #[test]
    fn a_name_is_the_last_word_without_folders() {
        for (text, name) in
            [("/boot/a.bin", "a.bin"), ("/x/y first", "first"), ("first", "first"), ("", ""), (" ", "")]
        {
            assert_eq!(name_in(text.as_bytes()), name);
        }
        assert_eq!(name_in(b"\xff"), "");
    }

    proptest! {
        #[test]
        fn no_bytes_lead_outside(entries in proptest::collection::vec(any::<u8>(), 0..400), count in 0..5_u8) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend([count, 0, 0, 0]);
            bytes.extend(entries);
            if let Some(archive) = Archive::parse(&bytes) {
                prop_assert_eq!(archive.files().count(), usize::from(count));
            }
        }
    }
}
