//! The Multiboot 1 header of the kernel's ELF file. The file has it without its magic, because QEMU's `-kernel` prefers a
//! Multiboot 1 header and then ignores the PVH note: with the magic, PVH could not be used.

use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol, elf};
use octopod::boot::multiboot1::{
    HEADER_ADDRESSES, HEADER_BYTES, HEADER_CHECKSUM_AT, HEADER_MAGIC, HEADER_SEARCH_BYTES, header_checksum,
};

/// The symbol that marks the header.
pub const SYMBOL: &str = "multiboot1_header";

/// The reason why a file cannot be entered by Multiboot 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not an ELF file for 64 bits.
    #[error("{0}")]
    NotElf(object::Error),
    /// There is no symbol of the header.
    #[error("it has no symbol {SYMBOL}, which marks a blank Multiboot 1 header")]
    NoSymbol,
    /// The symbol points to nothing that is in the file.
    #[error("its symbol {SYMBOL} ({address:#x}) lies in no loaded part of the file")]
    NotInFile {
        /// The address that it holds.
        address: u64,
    },
    /// Loaders would not find the header there.
    #[error(
        "its Multiboot 1 header lies at byte {offset}, not at a multiple of four within the first {HEADER_SEARCH_BYTES}"
    )]
    OutOfSight {
        /// Its offset in the file.
        offset: u64,
    },
    /// There is something else in its place.
    #[error("its Multiboot 1 header begins with {found:#010x} where it should be blank")]
    NotBlank {
        /// The first bytes.
        found: u32,
    },
    /// A loader would have to understand the file's format, and QEMU's wants 32-bit files.
    #[error("its Multiboot 1 header (flags {flags:#x}) does not say what is to be loaded where")]
    NoAddresses {
        /// Its flags.
        flags: u32,
    },
}

/// Returns the file with magic and checksum filled in in its Multiboot 1 header.
///
/// # Errors
/// The file has no Multiboot 1 header with room for the fields.
pub fn with_multiboot1_header(mut file: Vec<u8>) -> Result<Vec<u8>, HeaderError> {
    let offset = offset(&file)?;
    let out_of_sight = HeaderError::OutOfSight { offset };
    let place =
        usize::try_from(offset).ok().filter(|at| at % 4 == 0 && *at <= HEADER_SEARCH_BYTES - HEADER_BYTES);
    let header = place.and_then(|at| file.get_mut(at..at + HEADER_BYTES)).ok_or(out_of_sight)?;
    let (words, _) = header.as_chunks_mut::<4>();
    let [magic, flags] = [0, 1].map(|word| u32::from_le_bytes(words[word]));
    if magic != 0 {
        return Err(HeaderError::NotBlank { found: magic });
    }
    if flags & HEADER_ADDRESSES == 0 {
        return Err(HeaderError::NoAddresses { flags });
    }
    words[0] = HEADER_MAGIC.to_le_bytes();
    words[HEADER_CHECKSUM_AT / 4] = header_checksum(flags).to_le_bytes();
    Ok(file)
}

/// Returns the offset of the header in the file.
fn offset(file: &[u8]) -> Result<u64, HeaderError> {
    let elf = ElfFile64::<Endianness>::parse(file).map_err(HeaderError::NotElf)?;
    let symbol = elf.symbols().find(|symbol| symbol.name() == Ok(SYMBOL)).ok_or(HeaderError::NoSymbol)?;
    let (address, endian) = (symbol.address(), elf.endian());
    elf.elf_program_headers()
        .iter()
        .filter(|part| part.p_type(endian) == elf::PT_LOAD)
        .find_map(|part| {
            let within = address.checked_sub(part.p_vaddr(endian))?;
            (within < part.p_filesz(endian)).then(|| part.p_offset(endian).saturating_add(within))
        })
        .ok_or(HeaderError::NotInFile { address })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) const BASE: u64 = 0xffff_8000_0010_0000;
    const PART_AT: usize = 0x1000;
    const PART_BYTES: usize = 0x2000;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn longs(longs: &[u64]) -> Vec<u8> {
        longs.iter().flat_map(|long| long.to_le_bytes()).collect()
    }

    /// An ELF file with one part, which holds `header` at its start, and a symbol at `address`.
    pub(crate) fn file(symbol: &str, address: u64, header: &[u32]) -> Vec<u8> {
        let (symbols, names, sections) = (PART_AT + PART_BYTES, PART_AT + PART_BYTES + 48, 0x3100);
        let mut bytes = vec![0x55; sections];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        // A shared object for x86-64, version 1; entry, program headers, section headers; then flags and sizes.
        put(16, &words(&[3 | 62 << 16, 1]));
        put(24, &longs(&[BASE, 64, sections as u64]));
        put(48, &words(&[0, 64 | 56 << 16, 1 | 64 << 16, 3 | 2 << 16]));
        put(64, &words(&[elf::PT_LOAD.0, elf::PF_R.0]));
        put(72, &longs(&[PART_AT as u64, BASE, 0x10_0000, PART_BYTES as u64, 0x3000, 0x1000]));
        put(PART_AT, &words(header));
        put(symbols, &[0; 24]);
        // Name 1, a global object in section 1; its value, its size.
        put(symbols + 24, &words(&[1, 0x11 | 1 << 16]));
        put(symbols + 32, &longs(&[address, 32]));
        put(names, format!("\0{symbol}\0").as_bytes());
        let section = |kind, at: usize, size: u64, link: u32, entry: u64| {
            let head = [words(&[0, kind]), longs(&[0, 0, at as u64, size])].concat();
            [head, words(&[link, 1]), longs(&[8, entry])].concat()
        };
        bytes.extend([0; 64]);
        bytes.extend(section(elf::SHT_SYMTAB.0, symbols, 48, 2, 24));
        bytes.extend(section(elf::SHT_STRTAB.0, names, symbol.len() as u64 + 2, 0, 0));
        bytes
    }

    pub(crate) const BLANK: [u32; 8] =
        [0, HEADER_ADDRESSES | 3, 0, 0x10_0000, 0x10_0000, 0x10_2000, 0x10_3000, 0x10_0040];

    #[test]
    fn magic_and_checksum_come_in_and_nothing_else_changes() {
        let before = file(SYMBOL, BASE, &BLANK);
        let after = with_multiboot1_header(before.clone()).unwrap();
        let word = |at: usize| u32::from_le_bytes(after[PART_AT + at..PART_AT + at + 4].try_into().unwrap());
        assert_eq!(word(0), 0x1bad_b002);
        assert_eq!(word(0).wrapping_add(word(4)).wrapping_add(word(8)), 0);
        let changed = before.iter().zip(&after).enumerate().filter(|(_, (old, new))| old != new);
        let changed: Vec<usize> = changed.map(|(at, _)| at).collect();
        assert!(changed.iter().all(|at| [0..4, 8..12].iter().any(|word| word.contains(&(at - PART_AT)))));
        assert_eq!(before.len(), after.len());
    }

    #[test]
    fn a_header_that_is_not_as_it_must_be_is_refused() {
        let refusal = |symbol, address, header: &[u32]| {
            with_multiboot1_header(file(symbol, address, header)).unwrap_err()
        };
        assert_eq!(refusal("other", BASE, &BLANK), HeaderError::NoSymbol);
        for address in [BASE - 1, BASE + 0x2000, 0x10_0000] {
            assert_eq!(refusal(SYMBOL, address, &BLANK), HeaderError::NotInFile { address });
        }
        for offset in [0x1002u64, 0x1fe4, 0x2000] {
            let address = BASE + offset - 0x1000;
            assert_eq!(refusal(SYMBOL, address, &BLANK), HeaderError::OutOfSight { offset });
        }
        let found = 0x1bad_b002;
        assert_eq!(refusal(SYMBOL, BASE, &[found, 3, 0]), HeaderError::NotBlank { found });
        assert_eq!(refusal(SYMBOL, BASE, &[0, 3, 0]), HeaderError::NoAddresses { flags: 3 });
        assert!(matches!(with_multiboot1_header(b"text".to_vec()), Err(HeaderError::NotElf(_))));
    }
}
