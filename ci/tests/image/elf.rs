//! The contents of an ELF file that the checks need, as plain data.

use object::elf;
use object::read::elf::{ElfFile64, ProgramHeader, SectionHeader};
use object::{Endianness, Object, ObjectSection, ObjectSymbol, SectionKind};

/// An executable file.
pub(crate) struct Image {
    /// The program headers, which loaders read.
    pub segments: Vec<Segment>,
    /// The sections that hold code.
    pub code: Vec<Code>,
    /// Every named address.
    pub symbols: Vec<Symbol>,
    /// The relocations that remain when the image is loaded.
    pub relocations: Vec<Relocation>,
}

/// A program header and the bytes that it covers.
#[derive(Clone)]
pub(crate) struct Segment {
    /// Its purpose.
    pub kind: SegmentKind,
    /// Its virtual address.
    pub vaddr: u64,
    /// Its physical address.
    pub paddr: u64,
    /// Its alignment.
    pub align: u64,
    /// Flag W.
    pub writable: bool,
    /// Flag X.
    pub executable: bool,
    /// Its bytes in the file.
    pub data: Vec<u8>,
}

/// The purpose of a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentKind {
    /// Loaded into memory.
    Load,
    /// Notes to the loader.
    Note,
    /// Anything else.
    Other,
}

/// A section of code.
pub(crate) struct Code {
    /// The section's name.
    pub section: String,
    /// The virtual address of the first byte.
    pub address: u64,
    /// The code.
    pub data: Vec<u8>,
}

/// A named address.
pub(crate) struct Symbol {
    /// The name.
    pub name: String,
    /// The virtual address.
    pub address: u64,
    /// Bytes; 0 for most labels in assembly.
    pub size: u64,
}

/// A relocation in a section that is loaded.
pub(crate) struct Relocation {
    /// The section that holds the relocation.
    pub section: String,
    /// Its kind.
    pub kind: RelocationKind,
}

/// The kind of a relocation.
#[derive(PartialEq, Eq)]
pub(crate) enum RelocationKind {
    /// Add the distance between where the image was linked for and where it is, in the packed form: so many words of it.
    Packed(usize),
    /// Anything else, described.
    Other(String),
}

impl Image {
    /// Reads an ELF64 file.
    pub(crate) fn read(bytes: &[u8]) -> Result<Image, object::Error> {
        let file = ElfFile64::<Endianness>::parse(bytes)?;
        let endian = file.endian();
        let mut segments = Vec::new();
        for header in file.elf_program_headers() {
            let flags = header.p_flags(endian);
            segments.push(Segment {
                kind: match header.p_type(endian) {
                    elf::PT_LOAD => SegmentKind::Load,
                    elf::PT_NOTE => SegmentKind::Note,
                    _ => SegmentKind::Other,
                },
                vaddr: header.p_vaddr(endian),
                paddr: header.p_paddr(endian),
                align: header.p_align(endian),
                writable: flags.contains(elf::PF_W),
                executable: flags.contains(elf::PF_X),
                data: header.data(endian, bytes).unwrap_or_default().to_vec(),
            });
        }
        let mut code = Vec::new();
        for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
            let (section, address, data) =
                (section.name()?.to_owned(), section.address(), section.data()?.to_vec());
            code.push(Code { section, address, data });
        }
        let symbols = file.symbols().filter(|symbol| !symbol.is_undefined());
        let symbols = symbols.filter_map(|symbol| {
            let name = symbol.name().ok().filter(|name| !name.is_empty())?.to_owned();
            Some(Symbol { name, address: symbol.address(), size: symbol.size() })
        });
        let symbols = symbols.collect();
        Ok(Image { segments, code, symbols, relocations: relocations(&file, bytes)? })
    }
}

/// Read from the sections themselves: a static file has no dynamic symbol table to find them by.
fn relocations(file: &ElfFile64<'_>, bytes: &[u8]) -> Result<Vec<Relocation>, object::Error> {
    let endian = file.endian();
    let mut found = Vec::new();
    let table = file.elf_section_table();
    for section in table.iter().filter(|section| section.sh_flags(endian).contains(elf::SHF_ALLOC)) {
        let name = String::from_utf8_lossy(table.section_name(endian, section)?).into_owned();
        let mut push = |kind| found.push(Relocation { section: name.clone(), kind });
        if let Some((entries, _)) = section.rela(endian, bytes)? {
            for entry in entries {
                push(RelocationKind::Other(format!("type {}", entry.r_type(endian, false))));
            }
        }
        if let Some((entries, _)) = section.rel(endian, bytes)? {
            for entry in entries {
                push(RelocationKind::Other(format!("type {} without an addend", entry.r_type(endian))));
            }
        }
        if section.sh_type(endian) == elf::SHT_RELR {
            push(RelocationKind::Packed(section.data(endian, bytes)?.len() / size_of::<u64>()));
        }
    }
    Ok(found)
}
