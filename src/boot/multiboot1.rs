//! Boot protocol Multiboot 1: constants of the header that a loader looks for, and the parser of the Multiboot information.
//!
//! The layout is that of the Multiboot Specification 0.6.96, little-endian. The structure has no magic (that is in EAX) and no
//! length. `flags` says which fields are valid, and a field whose flag is clear need not be memory. [`Info::parse`] therefore
//! reads a field only if its flag is set. [`memory_map_entries`] and [`modules`] read the tables that the structure refers to.

use core::fmt;

use super::memory_map::{PhysRange, RawEntry, RegionKind};
use super::pvh::Table;
use crate::wire::little_endian::{read_u32, read_u64};

#[cfg(test)]
pub(super) mod tests;

/// The value of EAX at entry.
pub const LOADER_MAGIC: u32 = 0x2bad_b002;

/// The first word of the header.
pub const HEADER_MAGIC: u32 = 0x1bad_b002;

/// Header flag: modules begin on page boundaries.
pub const HEADER_PAGE_ALIGN: u32 = 1 << 0;

/// Header flag: the kernel requests the memory information.
pub const HEADER_MEMORY_INFO: u32 = 1 << 1;

/// Header flag: the address fields are valid, so the loader does not read the ELF headers.
pub const HEADER_ADDRESSES: u32 = 1 << 16;

/// The size of the header with its five address fields, in bytes.
pub const HEADER_BYTES: usize = 32;

/// The header lies within this number of bytes from the start of the file, at a multiple of four.
pub const HEADER_SEARCH_BYTES: usize = 8192;

/// Offset of the checksum in the header. The magic is at 0 and the flags are at 4.
pub const HEADER_CHECKSUM_AT: usize = 8;

/// The size of the structure with all its fields, in bytes.
pub const INFO_BYTES: usize = 116;

/// The size of an entry of the module list, in bytes.
pub const MODULE_ENTRY_BYTES: usize = 16;

/// The minimum value of a memory map entry's size field, which does not count itself.
const MEMORY_MAP_ENTRY_MIN: usize = 20;

/// Returns the header's checksum: the sum of magic, flags and checksum is 0.
pub const fn header_checksum(flags: u32) -> u32 {
    HEADER_MAGIC.wrapping_add(flags).wrapping_neg()
}

/// The Multiboot information. All addresses are physical and unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// The flags of the valid fields.
    pub flags: u32,
    /// The sizes of the memory below and above 1 MiB.
    pub basic_memory: Option<BasicMemory>,
    /// The zero-terminated command line; see [`without_file_name`].
    pub command_line_address: Option<u64>,
    /// The module list, of entries of [`MODULE_ENTRY_BYTES`]; `None` without modules.
    pub modules: Option<Table>,
    /// The range of the memory map.
    pub memory_map: Option<PhysRange>,
    /// The zero-terminated name of the loader.
    pub loader_name_address: Option<u64>,
    /// The framebuffer.
    pub framebuffer: Option<Framebuffer>,
}

/// The sizes of the memory up to the first hole: the information of a loader without a memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BasicMemory {
    /// The size of the memory from address 0, in KiB.
    pub lower_kib: u32,
    /// The size of the memory from 1 MiB, in KiB.
    pub upper_kib: u32,
}

impl BasicMemory {
    /// Returns the sizes as memory map entries, for a kernel that is passed no memory map.
    pub fn entries(self) -> [RawEntry; 2] {
        [(0, self.lower_kib), (1 << 20, self.upper_kib)].map(|(base, kib)| RawEntry {
            base,
            len: u64::from(kib) * 1024,
            kind: RegionKind::Usable,
        })
    }
}

/// A framebuffer that the loader has set up, as both Multiboots describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framebuffer {
    /// The physical address.
    pub address: u64,
    /// The distance between lines, in bytes.
    pub pitch_bytes: u32,
    /// Pixels (in text mode, characters) per line.
    pub width: u32,
    /// The number of lines.
    pub height: u32,
    /// Bits per pixel (in text mode, per character and its attributes).
    pub bits_per_pixel: u8,
    /// The format of a pixel.
    pub format: PixelFormat,
}

/// The format of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// A palette index.
    Indexed,
    /// Red, green and blue.
    Rgb {
        /// The bits of red.
        red: Channel,
        /// The bits of green.
        green: Channel,
        /// The bits of blue.
        blue: Channel,
    },
    /// VGA text mode: characters with attributes.
    Text,
    /// A number that the specification does not define.
    Unknown(u8),
}

/// The bits of a colour in a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The lowest bit.
    pub shift: u8,
    /// The number of bits.
    pub bits: u8,
}

/// A module: a file that the loader loaded with the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module {
    /// The physical range.
    pub range: PhysRange,
    /// The zero-terminated command line of the module.
    pub command_line_address: Option<u64>,
}

/// Why the Multiboot information is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiboot1Error {
    /// The structure ends before a field whose flag is set.
    Truncated {
        /// The size up to the end of that field, in bytes.
        needed: usize,
        /// The size of the slice, in bytes.
        found: usize,
    },
    /// The size field of a memory map entry is below the minimum.
    MemoryMapEntryTooSmall {
        /// The offset of the entry in the map.
        offset: usize,
        /// The value of the size field.
        size: u32,
    },
    /// The memory map ends inside an entry.
    MemoryMapCutOff {
        /// The offset of that entry in the map.
        offset: usize,
        /// The length of the map.
        length: usize,
    },
}

impl fmt::Display for Multiboot1Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Multiboot1Error::Truncated { needed, found } => {
                write!(f, "the Multiboot information is truncated: {found} of {needed} bytes")
            }
            Multiboot1Error::MemoryMapEntryTooSmall { offset, size } => write!(
                f,
                "the Multiboot memory map's entry at byte {offset} has {size} bytes, less than {MEMORY_MAP_ENTRY_MIN}"
            ),
            Multiboot1Error::MemoryMapCutOff { offset, length } => write!(
                f,
                "the Multiboot memory map ends at byte {length}, within the entry that begins at byte {offset}"
            ),
        }
    }
}

impl core::error::Error for Multiboot1Error {}

impl Info {
    /// Parses the structure. The slice may be longer, and may end after the last valid field.
    ///
    /// # Errors
    /// [`Multiboot1Error::Truncated`].
    pub fn parse(bytes: &[u8]) -> Result<Info, Multiboot1Error> {
        let truncated = |needed| Multiboot1Error::Truncated { needed, found: bytes.len() };
        let word = |offset: usize| read_u32(bytes, offset).ok_or(truncated(offset + 4));
        let flags = word(0)?;
        let has = |bit: u32| flags & (1 << bit) != 0;
        // A loader may set the flag and pass an address or a count of 0 for "none".
        let address = |bit, offset| -> Result<Option<u64>, _> {
            let address = if has(bit) { u64::from(word(offset)?) } else { 0 };
            Ok((address != 0).then_some(address))
        };
        let mut info = Info {
            flags,
            basic_memory: None,
            command_line_address: address(2, 16)?,
            modules: None,
            memory_map: None,
            loader_name_address: address(9, 64)?,
            framebuffer: None,
        };
        if has(0) {
            info.basic_memory = Some(BasicMemory { lower_kib: word(4)?, upper_kib: word(8)? });
        }
        if let Some(address) = address(3, 24)? {
            info.modules = Some(Table { address, entries: word(20)? }).filter(|list| list.entries != 0);
        }
        if let Some(start) = address(6, 48)? {
            let map = PhysRange::new(start, start + u64::from(word(44)?));
            info.memory_map = Some(map).filter(|map| !map.is_empty());
        }
        if has(12) {
            let screen = Framebuffer::read(bytes, 88, 110).map_err(truncated)?;
            info.framebuffer = Some(screen).filter(|screen| screen.address != 0);
        }
        Ok(info)
    }
}

impl Framebuffer {
    /// Reads the fields at `offset` and the colour format at `colours`. Both Multiboots have the same fields, with different
    /// gaps before the colour format.
    ///
    /// # Errors
    /// The number of bytes that are needed, if the slice is shorter.
    pub(super) fn read(bytes: &[u8], offset: usize, colours: usize) -> Result<Framebuffer, usize> {
        let word = |at: usize| read_u32(bytes, at).ok_or(at + 4);
        let byte = |at: usize| bytes.get(at).copied().ok_or(at + 1);
        let channel = |at: usize| Ok::<_, usize>(Channel { shift: byte(at)?, bits: byte(at + 1)? });
        Ok(Framebuffer {
            address: read_u64(bytes, offset).ok_or(offset + 8)?,
            pitch_bytes: word(offset + 8)?,
            width: word(offset + 12)?,
            height: word(offset + 16)?,
            bits_per_pixel: byte(offset + 20)?,
            format: match byte(offset + 21)? {
                0 => PixelFormat::Indexed,
                1 => PixelFormat::Rgb {
                    red: channel(colours)?,
                    green: channel(colours + 2)?,
                    blue: channel(colours + 4)?,
                },
                2 => PixelFormat::Text,
                number => PixelFormat::Unknown(number),
            },
        })
    }
}

/// Returns the entries of a memory map. All entries are checked first: a malformed entry can hide a reserved range after it, so
/// the whole map is refused.
///
/// # Errors
/// [`Multiboot1Error::MemoryMapEntryTooSmall`] or [`Multiboot1Error::MemoryMapCutOff`].
pub fn memory_map_entries(
    map: &[u8],
) -> Result<impl Iterator<Item = RawEntry> + Clone + '_, Multiboot1Error> {
    let mut entries = Entries { map, offset: 0 };
    while entries.step()?.is_some() {}
    let mut entries = Entries { map, offset: 0 };
    Ok(core::iter::from_fn(move || entries.step().ok().flatten()))
}

/// Returns the modules of a module list. Bytes after the last whole entry are ignored.
pub fn modules(list: &[u8]) -> impl ExactSizeIterator<Item = Module> + Clone + '_ {
    list.chunks_exact(MODULE_ENTRY_BYTES).map(|entry| {
        // An exact chunk holds every field. The defaults are never used; they keep a panic out of the image.
        let word = |offset| u64::from(read_u32(entry, offset).unwrap_or_default());
        Module {
            range: PhysRange::new(word(0), word(4)),
            command_line_address: Some(word(8)).filter(|address| *address != 0),
        }
    })
}

/// Returns the command line without the kernel's file name. QEMU's `-kernel` puts the file name before it, GRUB does not.
pub fn without_file_name<'a>(command_line: &'a [u8], loader_name: &[u8]) -> &'a [u8] {
    if loader_name != b"qemu" {
        return command_line;
    }
    let name_end = command_line.iter().position(|byte| *byte == b' ');
    name_end.map_or(&[], |space| &command_line[space + 1..])
}

#[derive(Clone)]
struct Entries<'a> {
    map: &'a [u8],
    offset: usize,
}

impl Entries<'_> {
    /// Returns the next entry. Each has at least [`MEMORY_MAP_ENTRY_MIN`] bytes, so the walk terminates.
    fn step(&mut self) -> Result<Option<RawEntry>, Multiboot1Error> {
        let rest = self.map.get(self.offset..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let cut_off = Multiboot1Error::MemoryMapCutOff { offset: self.offset, length: self.map.len() };
        let size = read_u32(rest, 0).ok_or(cut_off)?;
        if (size as usize) < MEMORY_MAP_ENTRY_MIN {
            return Err(Multiboot1Error::MemoryMapEntryTooSmall { offset: self.offset, size });
        }
        let body = rest[4..].get(..size as usize).ok_or(cut_off)?;
        self.offset += 4 + body.len();
        Ok(Some(RawEntry {
            base: read_u64(body, 0).ok_or(cut_off)?,
            len: read_u64(body, 8).ok_or(cut_off)?,
            kind: RegionKind::from_e820(read_u32(body, 16).ok_or(cut_off)?),
        }))
    }
}
