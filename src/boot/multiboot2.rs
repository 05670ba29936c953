//! The Multiboot 2 door, pure part: the header's numbers, and the structure that the loader leaves in memory.
//!
//! The layout is that of the Multiboot2 Specification 2.0, little-endian throughout: a length, then tags, each with a
//! kind and a size and each at a multiple of eight, until a tag of kind 0. All lies within the structure, so one copy
//! of it is enough. [`Info::parse`] walks the tags once and refuses a structure in which any of them is broken; what it
//! gives out are slices of the copy, and [`RawEntry`]s for [`super::memory_map`].

use super::memory_map::{PhysRange, RawEntry, RegionKind};
use super::multiboot1::{BasicMemory, Framebuffer};
use super::pvh::{read_u32, read_u64};

mod error;
#[cfg(test)]
mod tests;

pub use error::Multiboot2Error;

/// What the loader leaves in EAX.
pub const LOADER_MAGIC: u32 = 0x36d7_6289;

/// The first word of the header that makes a file bootable.
pub const HEADER_MAGIC: u32 = 0xe852_50d6;

/// The header's second word: the kernel is entered in 32-bit protected mode.
pub const ARCHITECTURE_I386: u32 = 0;

/// The header lies wholly within so many bytes from the start of the file, at a multiple of eight.
pub const HEADER_SEARCH_BYTES: usize = 32768;

/// Header tag: the last one; [`END_TAG_BYTES`] long.
pub const HEADER_TAG_END: u16 = 0;

/// Header tag: kinds of information tags that the kernel asks for, as many words as the size leaves room for.
pub const HEADER_TAG_INFORMATION_REQUEST: u16 = 1;

/// Header tag: where to enter a kernel that is entered by [`ARCHITECTURE_I386`], whatever its file says.
pub const HEADER_TAG_ENTRY_ADDRESS: u16 = 3;

/// Header tag: modules begin on page boundaries.
pub const HEADER_TAG_MODULE_ALIGN: u16 = 6;

/// Header tag: the image may be loaded elsewhere than where it was linked; lowest and highest address, alignment and
/// preference follow.
pub const HEADER_TAG_RELOCATABLE: u16 = 10;

/// Header tag flag: a loader that does not know the tag may ignore it.
pub const HEADER_TAG_OPTIONAL: u16 = 1;

/// Bytes of [`HEADER_TAG_ENTRY_ADDRESS`]. The next tag begins at a multiple of eight.
pub const ENTRY_ADDRESS_TAG_BYTES: u32 = 12;

/// Bytes of [`HEADER_TAG_RELOCATABLE`].
pub const RELOCATABLE_TAG_BYTES: u32 = 24;

/// Bytes of [`HEADER_TAG_MODULE_ALIGN`] and [`HEADER_TAG_END`].
pub const END_TAG_BYTES: u32 = 8;

/// A [`HEADER_TAG_RELOCATABLE`] that leaves the place to the loader.
pub const PREFER_NOTHING: u32 = 0;

/// A [`HEADER_TAG_RELOCATABLE`] that asks for the lowest place.
pub const PREFER_LOWEST: u32 = 1;

/// A [`HEADER_TAG_RELOCATABLE`] that asks for the highest place.
pub const PREFER_HIGHEST: u32 = 2;

/// Information tags, for [`HEADER_TAG_INFORMATION_REQUEST`] too.
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
    /// The screen.
    pub const FRAMEBUFFER: u32 = 8;
    /// A copy of the RSDP of ACPI 1.
    pub const ACPI_OLD: u32 = 14;
    /// A copy of the RSDP of ACPI 2 and later.
    pub const ACPI_NEW: u32 = 15;
    /// Where a relocatable image was loaded.
    pub const LOAD_BASE: u32 = 21;
}

/// Bytes before the first tag, and the least that must be there to learn the length.
pub const HEAD_BYTES: usize = 8;

/// Bytes of a tag's kind and size.
const TAG_HEAD_BYTES: usize = 8;

/// Every tag begins at a multiple of this.
const TAG_ALIGN: usize = 8;

/// Bytes of a memory map entry that this module knows; later versions may append more.
const MEMORY_MAP_ENTRY_MIN: u32 = 24;

/// Bytes of an ACPI 1 RSDP, and of one of ACPI 2.
const RSDP_OLD_BYTES: usize = 20;
const RSDP_NEW_BYTES: usize = 36;

/// What the loader passed.
#[derive(Clone, Copy, Debug)]
pub struct Info<'a> {
    /// The command line, without the zero byte that ends it.
    pub command_line: Option<&'a [u8]>,
    /// The loader's name, likewise.
    pub loader_name: Option<&'a [u8]>,
    /// How much memory there is below and above 1 MiB.
    pub basic_memory: Option<BasicMemory>,
    /// The memory map.
    pub memory_map: Option<MemoryMap<'a>>,
    /// The screen.
    pub framebuffer: Option<Framebuffer>,
    /// The bytes of the RSDP: a copy, the newer one if there are two.
    pub rsdp: Option<&'a [u8]>,
    /// Where the image was loaded, if the loader chose the place.
    pub load_base: Option<u32>,
    tags: Tags<'a>,
}

/// The memory map's bytes, with the size of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryMap<'a> {
    entry_bytes: usize,
    entries: &'a [u8],
}

/// Something that was loaded beside the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module<'a> {
    /// Where it lies, physical.
    pub range: PhysRange,
    /// Its command line, without the zero byte that ends it.
    pub command_line: &'a [u8],
}

/// How many bytes the structure has that begins with `head` ([`HEAD_BYTES`] are enough): what is to be copied.
pub fn total_bytes(head: &[u8]) -> Result<u32, Multiboot2Error> {
    let total =
        read_u32(head, 0).ok_or(Multiboot2Error::Truncated { needed: HEAD_BYTES, found: head.len() })?;
    if (total as usize) < HEAD_BYTES {
        return Err(Multiboot2Error::TooShort { total });
    }
    Ok(total)
}

impl<'a> Info<'a> {
    /// Reads the structure. The slice may be longer than it. Where a kind of which there should be one comes twice,
    /// the first counts.
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
                    // Two reserved bytes stand before the colours in the loaders' header file, one in the text.
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

    /// What was loaded beside the kernel.
    pub fn modules(&self) -> impl Iterator<Item = Module<'a>> + Clone + use<'a> {
        let mut walk = self.tags;
        let tags = core::iter::from_fn(move || walk.step().ok().flatten());
        tags.filter(|tag| tag.kind == tag::MODULE).filter_map(|tag| tag.module().ok())
    }
}

impl<'a> MemoryMap<'a> {
    /// Its entries. Bytes after the last whole entry are ignored.
    pub fn entries(self) -> impl ExactSizeIterator<Item = RawEntry> + Clone + use<'a> {
        self.entries.chunks_exact(self.entry_bytes).map(|entry| {
            // An exact chunk holds every field; the defaults are never used, and keep a panic out of the image.
            RawEntry {
                base: read_u64(entry, 0).unwrap_or_default(),
                len: read_u64(entry, 8).unwrap_or_default(),
                kind: RegionKind::from_e820(read_u32(entry, 16).unwrap_or_default()),
            }
        })
    }
}

/// A walk through the tags of a structure.
#[derive(Clone, Copy, Debug)]
struct Tags<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Tags<'a> {
    /// The next tag, `None` at the end tag. Each has at least its head, so the walk ends.
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
        // The version, at 4, only says that entries have grown, which their size says too.
        let size = self.word(0)?;
        if size < MEMORY_MAP_ENTRY_MIN {
            return Err(Multiboot2Error::MemoryMapEntryTooSmall { size });
        }
        let entries = self.body.get(8..).ok_or(self.cut_off(8))?;
        Ok(MemoryMap { entry_bytes: size as usize, entries })
    }
}

/// The first value counts.
fn keep<T>(place: &mut Option<T>, value: T) {
    place.get_or_insert(value);
}

/// Up to the zero byte that ends it, or to the tag's end if there is none.
fn text(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}
