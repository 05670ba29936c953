//! Boot protocol Multiboot 2: constants of the header, and the parser of the Multiboot 2 information.
//!
//! The layout is that of the Multiboot2 Specification 2.0, little-endian: a length, then tags up to a tag of kind 0. Each tag has
//! a kind and a size, and begins at a multiple of eight. [`Info::parse`] checks all tags and refuses a structure with a malformed
//! tag. The results are slices of the structure, and [`RawEntry`]s for [`super::memory_map`].

use super::memory_map::{PhysRange, RawEntry, RegionKind};
use super::multiboot1::{BasicMemory, Framebuffer};
use crate::wire::little_endian::{read_u32, read_u64};

mod error;
mod layout;
#[cfg(test)]
mod tests;

pub use error::Multiboot2Error;
pub use layout::HEAD_BYTES;
use layout::MEMORY_MAP_ENTRY_MIN;

/// The value of EAX at entry.
pub const LOADER_MAGIC: u32 = 0x36d7_6289;

/// The first word of the header.
pub const HEADER_MAGIC: u32 = 0xe852_50d6;

/// The second word of the header: the kernel is entered in 32-bit protected mode.
pub const ARCHITECTURE_I386: u32 = 0;

/// The header lies within this number of bytes from the start of the file, at a multiple of eight.
pub const HEADER_SEARCH_BYTES: usize = 32768;

/// Header tag: the last one; [`END_TAG_BYTES`] long.
pub const HEADER_TAG_END: u16 = 0;

/// Header tag: the kinds of information tags that the kernel requests, one word each, up to the tag's size.
pub const HEADER_TAG_INFORMATION_REQUEST: u16 = 1;

/// Header tag: the entry point of a kernel of [`ARCHITECTURE_I386`]; overrides the ELF header.
pub const HEADER_TAG_ENTRY_ADDRESS: u16 = 3;

/// Header tag: modules begin on page boundaries.
pub const HEADER_TAG_MODULE_ALIGN: u16 = 6;

/// Header tag: the image is relocatable. The lowest and the highest address, the alignment and the preference follow.
pub const HEADER_TAG_RELOCATABLE: u16 = 10;

/// Header tag flag: a loader may ignore the tag.
pub const HEADER_TAG_OPTIONAL: u16 = 1;

/// The size of [`HEADER_TAG_ENTRY_ADDRESS`] in bytes. The next tag begins at a multiple of eight.
pub const ENTRY_ADDRESS_TAG_BYTES: u32 = 12;

/// The size of [`HEADER_TAG_RELOCATABLE`] in bytes.
pub const RELOCATABLE_TAG_BYTES: u32 = 24;

/// The size of [`HEADER_TAG_MODULE_ALIGN`] and [`HEADER_TAG_END`] in bytes.
pub const END_TAG_BYTES: u32 = 8;

/// Preference of [`HEADER_TAG_RELOCATABLE`]: none.
pub const PREFER_NOTHING: u32 = 0;

/// Preference of [`HEADER_TAG_RELOCATABLE`]: the lowest address.
pub const PREFER_LOWEST: u32 = 1;

/// Preference of [`HEADER_TAG_RELOCATABLE`]: the highest address.
pub const PREFER_HIGHEST: u32 = 2;

/// Kinds of information tags, also for [`HEADER_TAG_INFORMATION_REQUEST`].
pub mod tag {
    /// The last one.
    pub const END: u32 = 0;
    /// The kernel's command line.
    pub const COMMAND_LINE: u32 = 1;
    /// The loader's name.
    pub const LOADER_NAME: u32 = 2;
    /// A module.
    pub const MODULE: u32 = 3;
    /// Memory below and above 1 MiB.
    pub const BASIC_MEMORY: u32 = 4;
    /// The memory map.
    pub const MEMORY_MAP: u32 = 6;
    /// The framebuffer.
    pub const FRAMEBUFFER: u32 = 8;
    /// A copy of the RSDP of ACPI 1.
    pub const ACPI_OLD: u32 = 14;
    /// A copy of the RSDP of ACPI 2 and later.
    pub const ACPI_NEW: u32 = 15;
    /// The physical address of a relocatable image.
    pub const LOAD_BASE: u32 = 21;
}

/// The size of a tag's head (kind and size), in bytes.
const TAG_HEAD_BYTES: usize = 8;

/// The alignment of tags in bytes.
const TAG_ALIGN: usize = 8;

/// The sizes of the RSDP of ACPI 1 and of ACPI 2, in bytes.
const RSDP_OLD_BYTES: usize = 20;
const RSDP_NEW_BYTES: usize = 36;

/// The Multiboot 2 information.
#[derive(Clone, Copy, Debug)]
pub struct Info<'a> {
    /// The command line, without its terminating zero byte.
    pub command_line: Option<&'a [u8]>,
    /// The name of the loader, without its terminating zero byte.
    pub loader_name: Option<&'a [u8]>,
    /// The sizes of the memory below and above 1 MiB.
    pub basic_memory: Option<BasicMemory>,
    /// The memory map.
    pub memory_map: Option<MemoryMap<'a>>,
    /// The framebuffer.
    pub framebuffer: Option<Framebuffer>,
    /// A copy of the RSDP; that of ACPI 2 if there are two.
    pub rsdp: Option<&'a [u8]>,
    /// The physical address of the image, if the loader chose it.
    pub load_base: Option<u32>,
    tags: Tags<'a>,
}

/// The bytes of the memory map, with the size of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryMap<'a> {
    entry_bytes: usize,
    entries: &'a [u8],
}

/// A module: a file that the loader loaded with the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module<'a> {
    /// The physical range.
    pub range: PhysRange,
    /// The command line of the module, without its terminating zero byte.
    pub command_line: &'a [u8],
}

/// Returns the size in bytes of the structure that begins with `head` ([`HEAD_BYTES`] suffice).
///
/// # Errors
/// [`Multiboot2Error::Truncated`] or [`Multiboot2Error::TooShort`].
pub fn total_bytes(head: &[u8]) -> Result<u32, Multiboot2Error> {
    let total =
        read_u32(head, 0).ok_or(Multiboot2Error::Truncated { needed: HEAD_BYTES, found: head.len() })?;
    if (total as usize) < HEAD_BYTES {
        return Err(Multiboot2Error::TooShort { total });
    }
    Ok(total)
}

impl<'a> Info<'a> {
    /// Parses the structure. The slice may be longer. If a kind occurs twice, the first tag counts.
    ///
    /// # Errors
    /// [`Multiboot2Error`]: the structure or one of its tags is malformed.
    pub fn parse(bytes: &'a [u8]) -> Result<Info<'a>, Multiboot2Error> {
        let total = total_bytes(bytes)? as usize;
        let bytes =
            bytes.get(..total).ok_or(Multiboot2Error::Truncated { needed: total, found: bytes.len() })?;
        let tags = Tags { bytes, offset: HEAD_BYTES };
        let mut info = Info {
            command_line: None,
            loader_name: None,
            basic_memory: None,
            memory_map: None,
            framebuffer: None,
            rsdp: None,
            load_base: None,
            tags,
        };
        let (mut old_rsdp, mut new_rsdp) = (None, None);
        let mut walk = tags;
        while let Some(tag) = walk.step()? {
            match tag.kind {
                tag::COMMAND_LINE => keep(&mut info.command_line, text(tag.body)),
                tag::LOADER_NAME => keep(&mut info.loader_name, text(tag.body)),
                tag::MODULE => drop(tag.module()?),
                tag::BASIC_MEMORY => {
                    let memory = BasicMemory { lower_kib: tag.word(0)?, upper_kib: tag.word(4)? };
                    keep(&mut info.basic_memory, memory);
                }
                tag::MEMORY_MAP => keep(&mut info.memory_map, tag.memory_map()?),
                tag::FRAMEBUFFER => {
                    // The colour format follows two reserved bytes in the header file of the specification, one byte in its text.
                    let screen = Framebuffer::read(tag.body, 0, 24).map_err(|needed| tag.cut_off(needed))?;
                    keep(&mut info.framebuffer, screen);
                }
                tag::ACPI_OLD => keep(&mut old_rsdp, tag.at_least(RSDP_OLD_BYTES)?),
                tag::ACPI_NEW => keep(&mut new_rsdp, tag.at_least(RSDP_NEW_BYTES)?),
                tag::LOAD_BASE => keep(&mut info.load_base, tag.word(0)?),
                _ => {}
            }
        }
        info.framebuffer = info.framebuffer.filter(|screen| screen.address != 0);
        info.rsdp = new_rsdp.or(old_rsdp);
        Ok(info)
    }

    /// Returns the modules.
    pub fn modules(&self) -> impl Iterator<Item = Module<'a>> + Clone + use<'a> {
        let mut walk = self.tags;
        let tags = core::iter::from_fn(move || walk.step().ok().flatten());
        tags.filter(|tag| tag.kind == tag::MODULE).filter_map(|tag| tag.module().ok())
    }
}

impl<'a> MemoryMap<'a> {
    /// Returns the entries. Bytes after the last whole entry are ignored.
    pub fn entries(self) -> impl ExactSizeIterator<Item = RawEntry> + Clone + use<'a> {
        self.entries.chunks_exact(self.entry_bytes).map(|entry| {
            // An exact chunk holds every field. The defaults are never used; they keep a panic out of the image.
            RawEntry {
                base: read_u64(entry, 0).unwrap_or_default(),
                len: read_u64(entry, 8).unwrap_or_default(),
                kind: RegionKind::from_e820(read_u32(entry, 16).unwrap_or_default()),
            }
        })
    }
}

/// A position in the tags of a structure.
#[derive(Clone, Copy, Debug)]
struct Tags<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Tags<'a> {
    /// Returns the next tag; `None` at the end tag. Each tag has at least its head, so the walk terminates.
    fn step(&mut self) -> Result<Option<Tag<'a>>, Multiboot2Error> {
        let (offset, total) = (self.offset, self.bytes.len());
        let rest = self.bytes.get(offset..).unwrap_or_default();
        let (Some(kind), Some(size)) = (read_u32(rest, 0), read_u32(rest, 4)) else {
            return Err(Multiboot2Error::NoEndTag { total });
        };
        if (size as usize) < TAG_HEAD_BYTES {
            return Err(Multiboot2Error::TagTooSmall { offset, kind, size });
        }
        let past_end = Multiboot2Error::TagPastEnd { offset, kind, size, total };
        let body = rest.get(TAG_HEAD_BYTES..size as usize).ok_or(past_end)?;
        if kind == tag::END {
            return Ok(None);
        }
        // The structure begins at a multiple of eight, so offsets are aligned as addresses are.
        self.offset = (offset + TAG_HEAD_BYTES + body.len()).next_multiple_of(TAG_ALIGN);
        Ok(Some(Tag { kind, body }))
    }
}

/// A tag, without its head.
#[derive(Clone, Copy)]
struct Tag<'a> {
    kind: u32,
    body: &'a [u8],
}

impl<'a> Tag<'a> {
    fn cut_off(&self, body_needed: usize) -> Multiboot2Error {
        Multiboot2Error::TagCutOff {
            kind: self.kind,
            needed: TAG_HEAD_BYTES + body_needed,
            found: TAG_HEAD_BYTES + self.body.len(),
        }
    }

    fn at_least(&self, bytes: usize) -> Result<&'a [u8], Multiboot2Error> {
        if self.body.len() < bytes { Err(self.cut_off(bytes)) } else { Ok(self.body) }
    }

    fn word(&self, offset: usize) -> Result<u32, Multiboot2Error> {
        read_u32(self.body, offset).ok_or(self.cut_off(offset + 4))
    }

    fn module(&self) -> Result<Module<'a>, Multiboot2Error> {
        Ok(Module {
            range: PhysRange::new(self.word(0)?.into(), self.word(4)?.into()),
            command_line: text(self.body.get(8..).unwrap_or_default()),
        })
    }

    fn memory_map(&self) -> Result<MemoryMap<'a>, Multiboot2Error> {
        // The version at offset 4 is not needed: the size of an entry says whether it has more fields.
        let size = self.word(0)?;
        if size < MEMORY_MAP_ENTRY_MIN {
            return Err(Multiboot2Error::MemoryMapEntryTooSmall { size });
        }
        let entries = self.body.get(8..).ok_or(self.cut_off(8))?;
        Ok(MemoryMap { entry_bytes: size as usize, entries })
    }
}

/// Stores `value` if `place` is empty.
fn keep<T>(place: &mut Option<T>, value: T) {
    place.get_or_insert(value);
}

/// Returns the bytes before the first zero byte, or all bytes if there is none.
fn text(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}
