//! A kernel's file, and its image in memory as a loader creates it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use object::elf::PT_LOAD;
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, Object, ObjectSegment};

use crate::base::files::Scratch;

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The ELF file that is booted.
    pub path: PathBuf,
    /// The one that has the symbols.
    pub symbols: PathBuf,
    /// The variant that was built.
    pub variant: String,
    /// Bytes that the loader copies to memory, or would if the kernel were not compressed.
    pub image_bytes: u64,
    /// Bytes that the loader copies of a compressed kernel, unpacker and all.
    pub compressed_bytes: Option<u64>,
    /// The physical address behind the image, where its file wants it.
    pub image_end: u64,
    /// True if the user has named its file.
    pub is_users: bool,
    /// The build lock, under which no other build replaces the files.
    pub(super) _lock: Option<Arc<File>>,
    /// The folder of the files, where it goes with the last kernel in it.
    pub(super) _folder: Option<Arc<Scratch>>,
}

impl Kernel {
    /// The same kernel in files of the caller's own, which no build replaces.
    pub fn moved_to(self, path: PathBuf, symbols: PathBuf, folder: Option<Arc<Scratch>>) -> Kernel {
        Kernel { path, symbols, _lock: None, _folder: folder, ..self }
    }
}

/// The image that a loader creates from a file.
pub struct Image {
    /// The bytes that it copies: those of the loadable segments.
    pub bytes: u64,
    /// The physical address behind the last segment.
    pub end: u64,
}

/// The reason why no loader can enter a file, and what a program of octopod lacks then.
pub const NO_ENTRY: &str = "it has neither a PVH note nor a Multiboot header. A program of octopod names its function by \
                        `octopod::program!`, is built for x86_64-unknown-none, and is linked by no other script than \
                        octopod's own (no -T among its flags)";

/// The names of sections with a PVH note, in octopod's kernels and in those of others.
const PVH_NOTES: [&str; 2] = [".note.pvh", ".note.Xen"];

/// The magic numbers of Multiboot 1 and 2 headers, and how far into the file loaders look for them.
const MULTIBOOT: [(u32, usize); 2] = [(0x1bad_b002, 8 << 10), (0xe852_50d6, 32 << 10)];

/// Returns whether a loader finds an entry point in a file: a PVH note, or a Multiboot header.
pub fn has_entry(elf: &[u8]) -> bool {
    let has_note = object::File::parse(elf)
        .is_ok_and(|file| PVH_NOTES.iter().any(|name| file.section_by_name(name).is_some()));
    let has_header = |(magic, within): (u32, usize)| {
        let words = elf[..elf.len().min(within)].chunks_exact(4);
        words.into_iter().any(|word| word == magic.to_le_bytes())
    };
    has_note || MULTIBOOT.into_iter().any(has_header)
}

impl Image {
    /// Reads the program headers of an ELF file.
    ///
    /// # Errors
    /// It is none.
    pub fn of(elf: &[u8]) -> Result<Image, object::Error> {
        let bytes = object::File::parse(elf)?.segments().map(|segment| segment.file_range().1).sum();
        let end = ElfFile64::<Endianness>::parse(elf).map_or(0, |file| {
            let endian = file.endian();
            let loaded = file.elf_program_headers().iter().filter(|part| part.p_type(endian) == PT_LOAD);
            let ends = loaded.map(|part| part.p_paddr(endian).saturating_add(part.p_memsz(endian)));
            ends.max().unwrap_or_default()
        });
        Ok(Image { bytes, end })
    }
}
