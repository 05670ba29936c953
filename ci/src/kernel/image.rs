//! A kernel's file, and its image in memory as a loader creates it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use object::elf::{NoteType, PT_LOAD};
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, Object, ObjectSection, ObjectSegment, ObjectSymbol};

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
const NO_ENTRY: &str = "it has neither a PVH note nor a Multiboot header. A program of octopod names its function by \
                        `octopod::program!`, is built for x86_64-unknown-none, and is linked by no other script than \
                        octopod's own (no -T among its flags)";

/// The reason why a program of octopod that another linker script has laid out cannot run.
const FOREIGN_SCRIPT: &str = "another linker script than octopod's has laid it out. octopod's comes with the crate: leave out -T and \
                              `cargo::rustc-link-arg`, and write into .cargo/config.toml: [target.x86_64-unknown-none] rustflags = \
                              [\"-Cforce-frame-pointers=yes\"]";

/// The names of sections with a PVH note, in octopod's kernels and in those of others.
const PVH_NOTES: [&str; 2] = [".note.pvh", ".note.Xen"];

/// The owner of PVH notes.
const XEN: &[u8] = b"Xen";

/// The type of a PVH note.
const PHYS32_ENTRY: NoteType = NoteType(18);

/// The magic numbers of Multiboot 1 and 2 headers, and how far into the file loaders look for them.
const MULTIBOOT: [(u32, usize); 2] = [(0x1bad_b002, 8 << 10), (0xe852_50d6, 32 << 10)];

/// octopod's entry, which its linker script puts where the image begins.
const ENTRY: &str = "rt0_entry";
/// The symbol of the image's begin.
const START: &str = "image_start";
/// Sections of octopod's linker script that each program of octopod has.
const SECTIONS: [&str; 4] = [".rt0", ".note.pvh", ".static_calls", ".percpu"];
/// Those of a compressed kernel, whose sections are the unpacker's; the last one has the program.
const PACKED_SECTIONS: [&str; 3] = [".rt0", ".note.pvh", ".payload"];

/// The reason why a file cannot be booted, as far as its headers, sections and symbols show it.
pub fn defect(elf: &[u8]) -> Option<&'static str> {
    if !has_entry(elf) {
        return Some(NO_ENTRY);
    }
    let file = object::File::parse(elf).ok()?;
    let address =
        |name| file.symbols().find(|symbol| symbol.name() == Ok(name)).map(|symbol| symbol.address());
    // Kernels of others, and programs without symbols, have no such entry.
    let entry = address(ENTRY)?;
    let has = |name: &str| file.section_by_name(name).is_some_and(|section| section.size() > 0);
    let has_all = |names: &[&str]| names.iter().all(|name| has(name));
    let is_laid_out = address(START) == Some(entry) && (has_all(&SECTIONS) || has_all(&PACKED_SECTIONS));
    (!is_laid_out).then_some(FOREIGN_SCRIPT)
}

/// Returns whether a loader finds an entry point in a file: a PVH note, or a Multiboot header.
fn has_entry(elf: &[u8]) -> bool {
    let has_section = object::File::parse(elf)
        .is_ok_and(|file| PVH_NOTES.iter().any(|name| file.section_by_name(name).is_some()));
    let has_header = |(magic, within): (u32, usize)| {
        let words = elf[..elf.len().min(within)].chunks_exact(4);
        words.into_iter().any(|word| word == magic.to_le_bytes())
    };
    has_section || has_pvh_note(elf) || MULTIBOOT.into_iter().any(has_header)
}

/// Returns whether a file's notes, which have no section of their own, name a PVH entry.
fn has_pvh_note(elf: &[u8]) -> bool {
    let Ok(file) = ElfFile64::<Endianness>::parse(elf) else { return false };
    let endian = file.endian();
    let mut notes =
        file.elf_program_headers().iter().filter_map(|part| part.notes(endian, elf).ok().flatten());
    notes.any(|mut notes| {
        let next = || notes.next().ok().flatten();
        std::iter::from_fn(next).any(|note| note.name() == XEN && note.n_type(endian) == PHYS32_ENTRY)
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// This test's own program is no kernel; a header of Multiboot in its place makes it one for a loader.
    #[test]
    fn a_file_that_no_loader_can_enter_is_found() {
        let mut elf = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(defect(&elf), Some(NO_ENTRY));
        elf[MULTIBOOT[0].1 - 4..MULTIBOOT[0].1].copy_from_slice(&MULTIBOOT[0].0.to_le_bytes());
        assert_eq!(defect(&elf), None);
        elf[MULTIBOOT[0].1 - 4..MULTIBOOT[0].1].copy_from_slice(&MULTIBOOT[1].0.to_le_bytes());
        assert_eq!(defect(&elf), None);
    }
}
