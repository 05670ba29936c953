//! The Multiboot 1 door, pure part: the header that a loader looks for, and the structure that it leaves in memory.
//!
//! The layout is that of the Multiboot Specification 0.6.96, little-endian throughout. Unlike PVH's, the structure has
//! no magic of its own (that comes in EAX) and no length: `flags` says which fields are there, and a field whose flag
//! is clear need not even be memory. So [`Info::parse`] looks at no field before its flag. What the structure points to
//! is read by [`memory_map_entries`] and [`modules`] from copies, and becomes [`RawEntry`]s for [`super::memory_map`].

use core::fmt;

use super::memory_map::{PhysRange, RawEntry, RegionKind};
use super::pvh::{Table, read_u32, read_u64};

#[cfg(test)]
mod tests;

/// What the loader leaves in EAX.
pub const LOADER_MAGIC: u32 = 0x2bad_b002;

/// The first word of the header that makes a file bootable.
pub const HEADER_MAGIC: u32 = 0x1bad_b002;

/// Header flag: modules begin on page boundaries.
pub const HEADER_PAGE_ALIGN: u32 = 1 << 0;

/// Header flag: the kernel wants to know the machine's memory.
pub const HEADER_MEMORY_INFO: u32 = 1 << 1;

/// Header flag: the header says itself what is loaded where, so the loader need not know the file's format.
pub const HEADER_ADDRESSES: u32 = 1 << 16;

/// Bytes of the header with its five address fields.
pub const HEADER_BYTES: usize = 32;

/// The header lies wholly within so many bytes from the start of the file, at a multiple of four.
pub const HEADER_SEARCH_BYTES: usize = 8192;

/// Offset of the checksum in the header. The magic is at 0 and the flags are at 4.
pub const HEADER_CHECKSUM_AT: usize = 8;

/// Bytes of the loader's structure, if every field of it is there.
pub const INFO_BYTES: usize = 116;

/// Bytes of one entry of the module list.
pub const MODULE_ENTRY_BYTES: usize = 16;

/// Bytes that a memory map entry has at least behind its size field, which does not count itself.
const MEMORY_MAP_ENTRY_MIN: usize = 20;

/// The header's third word: with magic and flags it adds up to zero.
pub const fn header_checksum(flags: u32) -> u32 {
    HEADER_MAGIC.wrapping_add(flags).wrapping_neg()
}

/// What the loader passed. All addresses are physical and as yet unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Which fields are there.
    pub flags: u32,
    /// How much memory there is below and above 1 MiB.
    pub basic_memory: Option<BasicMemory>,
    /// The command line, ended by a zero byte; see [`without_file_name`].
    pub command_line_address: Option<u64>,
    /// The module list, if there are modules; an entry has [`MODULE_ENTRY_BYTES`].
    pub modules: Option<Table>,
    /// Where the memory map lies.
    pub memory_map: Option<PhysRange>,
    /// The loader's name, ended by a zero byte.
    pub loader_name_address: Option<u64>,
    /// The screen.
    pub framebuffer: Option<Framebuffer>,
}

/// How much memory there is, to the first hole: what a loader says that has no memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BasicMemory {
    /// KiB from address 0.
    pub lower_kib: u32,
    /// KiB from 1 MiB.
    pub upper_kib: u32,
}

impl BasicMemory {
    /// The same as memory map entries, for a kernel that got no better map.
    pub fn entries(self) -> [RawEntry; 2] {
        [(0, self.lower_kib), (1 << 20, self.upper_kib)].map(|(base, kib)| RawEntry {
            base,
            len: u64::from(kib) * 1024,
            kind: RegionKind::Usable,
        })
    }
}

/// A screen that the loader has set up. Both Multiboots describe it in the same terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framebuffer {
    /// Where it lies, physical.
    pub address: u64,
    /// Bytes from one line to the next.
    pub pitch_bytes: u32,
    /// Pixels in a line, or characters.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bits of a pixel, or of a character and its colours.
    pub bits_per_pixel: u8,
    /// What the bits mean.
    pub format: PixelFormat,
}

/// What a pixel's bits mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// An index into a palette.
    Indexed,
    /// Three colours.
    Rgb {
        /// Where red is.
        red: Channel,
        /// Where green is.
        green: Channel,
        /// Where blue is.
        blue: Channel,
    },
    /// Characters with attributes, as VGA's text mode has them.
    Text,
    /// A number that the specification does not know.
    Unknown(u8),
}

/// One colour's bits in a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The lowest bit.
    pub shift: u8,
    /// How many bits.
    pub bits: u8,
}

/// Something that was loaded beside the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module {
    /// Where it lies, physical.
    pub range: PhysRange,
    /// Its command line, ended by a zero byte.
    pub command_line_address: Option<u64>,
}

/// Why the loader's information cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiboot1Error {
    /// The structure ends before a field that its flags promise.
    Truncated {
        /// Bytes up to that field's end.
        needed: usize,
        /// Bytes that were there.
        found: usize,
    },
    /// An entry of the memory map says that it is smaller than an entry is.
    MemoryMapEntryTooSmall {
        /// Where in the map.
        offset: usize,
        /// The size that it claims.
        size: u32,
    },
    /// The memory map ends within an entry.
    MemoryMapCutOff {
        /// Where in the map that entry begins.
        offset: usize,
        /// The map's length.
        length: usize,
    },
}

impl fmt::Display for Multiboot1Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Multiboot1Error::Truncated { needed, found } => {
                write!(f, "the Multiboot information is cut off: {found} bytes of {needed}")
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
    /// Reads the structure. The slice may be longer than it, and may end behind the last field that is there.
    pub fn parse(bytes: &[u8]) -> Result<Info, Multiboot1Error> {
        let truncated = |needed| Multiboot1Error::Truncated { needed, found: bytes.len() };
        let word = |offset: usize| read_u32(bytes, offset).ok_or(truncated(offset + 4));
        let flags = word(0)?;
        let has = |bit: u32| flags & (1 << bit) != 0;
        // Loaders set the flag and say "none" by an address or a count of 0.
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
    /// Reads the fields at `offset`, and how colours are coded at `colours`: both Multiboots have the same fields, but
    /// not the same gap before the colours. The error is the number of bytes that it would take.
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

/// The entries of a memory map. It is walked once before any entry is given out: a map that is broken in the middle
/// may hide a reserved range behind the break, and so is of no use at all.
pub fn memory_map_entries(
    map: &[u8],
) -> Result<impl Iterator<Item = RawEntry> + Clone + '_, Multiboot1Error> {
    let mut entries = Entries { map, offset: 0 };
    while entries.step()?.is_some() {}
    let mut entries = Entries { map, offset: 0 };
    Ok(core::iter::from_fn(move || entries.step().ok().flatten()))
}

/// The modules of a module list. Bytes after the last whole entry are ignored.
pub fn modules(list: &[u8]) -> impl ExactSizeIterator<Item = Module> + Clone + '_ {
    list.chunks_exact(MODULE_ENTRY_BYTES).map(|entry| {
        // An exact chunk holds every field; the defaults are never used, and keep a panic out of the image.
        let word = |offset| u64::from(read_u32(entry, offset).unwrap_or_default());
        Module {
            range: PhysRange::new(word(0), word(4)),
            command_line_address: Some(word(8)).filter(|address| *address != 0),
        }
    })
}

/// The command line proper. Loaders disagree whether the kernel file's name comes before it: QEMU's `-kernel` writes it
/// there, GRUB does not.
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
    /// The next entry. Each is at least [`MEMORY_MAP_ENTRY_MIN`] bytes long, so the walk ends.
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
