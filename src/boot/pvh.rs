//! Boot protocol PVH: the parser of the start info, from byte slices.
//!
//! The layout is Xen's public `hvm_start_info` ("x86/HVM direct boot ABI", xen/include/public/arch-x86/hvm/start_info.h):
//! little-endian, a fixed head since version 0, the memory map since version 1. [`StartInfo::parse`] reads the structure,
//! [`memory_map_entries`] and [`modules`] read the tables that it refers to. `boot::collect` supplies the bytes.

use core::fmt;

use super::memory_map::{PhysRange, RawEntry, RegionKind};
use crate::wire::little_endian::{read_u32, read_u64};

/// The first word of the structure: "xEn3" with the top bit of the E set.
pub const MAGIC: u32 = 0x336e_c578;

/// The size of the structure in version 0, in bytes: the minimum for [`StartInfo::parse`].
pub const HEAD_BYTES: usize = 40;

/// The size of the structure from version 1 on, in bytes.
pub const HEAD_BYTES_V1: usize = 56;

/// The size of an entry of the memory map, in bytes.
pub const MEMORY_MAP_ENTRY_BYTES: usize = 24;

/// The size of an entry of the module list, in bytes.
pub const MODULE_ENTRY_BYTES: usize = 32;

/// A table in the loader's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// The physical address.
    pub address: u64,
    /// The number of entries.
    pub entries: u32,
}

/// The start info. All addresses are physical and unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartInfo {
    /// The version of the structure.
    pub version: u32,
    /// Flags of a Xen domain; 0 outside Xen.
    pub flags: u32,
    /// The module list; `None` without modules.
    pub modules: Option<Table>,
    /// The zero-terminated command line.
    pub command_line_address: Option<u64>,
    /// The ACPI RSDP.
    pub rsdp_address: Option<u64>,
    /// The memory map; `None` in version 0, or if the loader passes none.
    pub memory_map: Option<Table>,
}

/// Why the start info is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PvhError {
    /// It is truncated.
    Truncated {
        /// The size of its version, in bytes.
        needed: usize,
        /// The size of the slice, in bytes.
        found: usize,
    },
    /// It does not begin with [`MAGIC`].
    BadMagic {
        /// Its first word.
        found: u32,
    },
}

impl fmt::Display for PvhError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PvhError::Truncated { needed, found } => {
                write!(f, "the PVH start info is truncated: {found} of {needed} bytes")
            }
            PvhError::BadMagic { found } => {
                write!(f, "the PVH start info begins with {found:#010x}, not with {MAGIC:#010x}")
            }
        }
    }
}

impl core::error::Error for PvhError {}

impl StartInfo {
    /// Parses the structure. The slice may be longer; fields of later versions are ignored.
    ///
    /// # Errors
    /// [`PvhError`]: the magic is wrong, or the slice is shorter than the structure of its version.
    pub fn parse(bytes: &[u8]) -> Result<StartInfo, PvhError> {
        let truncated = |needed| PvhError::Truncated { needed, found: bytes.len() };
        let magic = read_u32(bytes, 0).ok_or(truncated(HEAD_BYTES))?;
        if magic != MAGIC {
            return Err(PvhError::BadMagic { found: magic });
        }
        let version = read_u32(bytes, 4).ok_or(truncated(HEAD_BYTES))?;
        let needed = if version == 0 { HEAD_BYTES } else { HEAD_BYTES_V1 };
        let word = |offset| read_u32(bytes, offset).ok_or(truncated(needed));
        let long = |offset| read_u64(bytes, offset).ok_or(truncated(needed));
        let memory_map = if version == 0 { None } else { table(long(40)?, word(48)?) };
        Ok(StartInfo {
            version,
            flags: word(8)?,
            modules: table(long(16)?, word(12)?),
            command_line_address: Some(long(24)?).filter(|address| *address != 0),
            rsdp_address: Some(long(32)?).filter(|address| *address != 0),
            memory_map,
        })
    }
}

/// Returns the entries of a memory map. Bytes after the last whole entry are ignored.
pub fn memory_map_entries(table: &[u8]) -> impl ExactSizeIterator<Item = RawEntry> + Clone + '_ {
    table.chunks_exact(MEMORY_MAP_ENTRY_BYTES).map(|entry| {
        // An exact chunk holds every field. The defaults are never used; they keep a panic out of the image.
        RawEntry {
            base: read_u64(entry, 0).unwrap_or_default(),
            len: read_u64(entry, 8).unwrap_or_default(),
            kind: RegionKind::from_e820(read_u32(entry, 16).unwrap_or_default()),
        }
    })
}

/// Returns the physical ranges of the modules of a module list (Xen's `hvm_modlist_entry`: the address and the length come
/// first). Bytes after the last whole entry are ignored.
pub fn modules(list: &[u8]) -> impl ExactSizeIterator<Item = PhysRange> + Clone + '_ {
    list.chunks_exact(MODULE_ENTRY_BYTES).map(|entry| {
        // An exact chunk holds both fields. The defaults are never used; they keep a panic out of the image.
        let field = |offset| read_u64(entry, offset).unwrap_or_default();
        PhysRange::new(field(0), field(0).saturating_add(field(8)))
    })
}

/// Returns the table; `None` if the address or the count is 0, which means that there is none.
fn table(address: u64, entries: u32) -> Option<Table> {
    (address != 0 && entries != 0).then_some(Table { address, entries })
}

#[cfg(test)]
mod tests {
    use core::mem::{offset_of, size_of};

    use proptest::prelude::*;

    use super::*;

    /// The structure of the ABI's C header.
    #[repr(C)]
    struct AbiStartInfo {
        magic: u32,
        version: u32,
        flags: u32,
        nr_modules: u32,
        modlist_paddr: u64,
        cmdline_paddr: u64,
        rsdp_paddr: u64,
        memmap_paddr: u64,
        memmap_entries: u32,
        reserved: u32,
    }

    #[repr(C)]
    struct AbiMemoryMapEntry {
        addr: u64,
        size: u64,
        kind: u32,
        reserved: u32,
    }

    #[repr(C)]
    struct AbiModuleEntry {
        paddr: u64,
        size: u64,
        cmdline_paddr: u64,
        reserved: u64,
    }

    /// A structure in which every field has a distinct value, at its offset in the C structure.
    fn sample(version: u32) -> [u8; HEAD_BYTES_V1] {
        let mut bytes = [0; HEAD_BYTES_V1];
        let mut put =
            |offset: usize, value: &[u8]| bytes[offset..offset + value.len()].copy_from_slice(value);
        put(offset_of!(AbiStartInfo, magic), &MAGIC.to_le_bytes());
        put(offset_of!(AbiStartInfo, version), &version.to_le_bytes());
        put(offset_of!(AbiStartInfo, flags), &0x11u32.to_le_bytes());
        put(offset_of!(AbiStartInfo, nr_modules), &2u32.to_le_bytes());
        put(offset_of!(AbiStartInfo, modlist_paddr), &0x1_0000_1000u64.to_le_bytes());
        put(offset_of!(AbiStartInfo, cmdline_paddr), &0x2000u64.to_le_bytes());
        put(offset_of!(AbiStartInfo, rsdp_paddr), &0xf_5a20u64.to_le_bytes());
        put(offset_of!(AbiStartInfo, memmap_paddr), &0x4000u64.to_le_bytes());
        put(offset_of!(AbiStartInfo, memmap_entries), &7u32.to_le_bytes());
        bytes
    }

    #[test]
    fn sizes_are_those_of_the_abi() {
        assert_eq!(HEAD_BYTES, offset_of!(AbiStartInfo, memmap_paddr));
        assert_eq!(HEAD_BYTES_V1, size_of::<AbiStartInfo>());
        assert_eq!(offset_of!(AbiStartInfo, reserved), 52);
        assert_eq!(MEMORY_MAP_ENTRY_BYTES, size_of::<AbiMemoryMapEntry>());
        assert_eq!(MODULE_ENTRY_BYTES, size_of::<AbiModuleEntry>());
        assert_eq!(MAGIC.to_le_bytes(), [b'x', b'E' | 0x80, b'n', b'3']);
    }

    #[test]
    fn every_field_is_read_at_its_offset() {
        let expected = StartInfo {
            version: 1,
            flags: 0x11,
            modules: Some(Table { address: 0x1_0000_1000, entries: 2 }),
            command_line_address: Some(0x2000),
            rsdp_address: Some(0xf_5a20),
            memory_map: Some(Table { address: 0x4000, entries: 7 }),
        };
        assert_eq!(StartInfo::parse(&sample(1)), Ok(expected));
    }

    #[test]
    fn version_0_has_no_memory_map() {
        let info = StartInfo::parse(&sample(0)[..HEAD_BYTES]).unwrap();
        assert_eq!((info.version, info.memory_map), (0, None));
        assert_eq!(StartInfo::parse(&sample(0)).unwrap().memory_map, None);
    }

    #[test]
    fn a_zero_address_or_count_means_none() {
        for field in [12..16, 16..24, 24..32, 32..40, 40..48, 48..52] {
            let mut bytes = sample(1);
            bytes[field.clone()].fill(0);
            let info = StartInfo::parse(&bytes).unwrap();
            assert_eq!(info.modules.is_none(), field.end <= 24, "{field:?}");
            assert_eq!(info.command_line_address.is_none(), field.start == 24, "{field:?}");
            assert_eq!(info.rsdp_address.is_none(), field.start == 32, "{field:?}");
            assert_eq!(info.memory_map.is_none(), field.start >= 40, "{field:?}");
        }
    }

    #[test]
    fn a_truncated_structure_is_refused() {
        for length in 0..HEAD_BYTES_V1 {
            // The last word of the structure is reserved and is not read.
            let expected = match length {
                0..8 => Err(PvhError::Truncated { needed: HEAD_BYTES, found: length }),
                8..52 => Err(PvhError::Truncated { needed: HEAD_BYTES_V1, found: length }),
                _ => Ok(1),
            };
            assert_eq!(StartInfo::parse(&sample(1)[..length]).map(|info| info.version), expected, "{length}");
        }
    }

    #[test]
    fn a_wrong_magic_is_refused() {
        let mut bytes = sample(1);
        bytes[0] = 0;
        let error = StartInfo::parse(&bytes).unwrap_err();
        assert_eq!(error, PvhError::BadMagic { found: 0x336e_c500 });
        assert_eq!(error.to_string(), "the PVH start info begins with 0x336ec500, not with 0x336ec578");
    }

    #[test]
    fn memory_map_entries_are_read_at_their_offsets() {
        let mut table = Vec::new();
        for (base, len, kind) in [(0u64, 0x9_fc00u64, 1u32), (0xfffc_0000, 0x4_0000, 2), (1 << 40, 5, 7)] {
            table.extend(base.to_le_bytes());
            table.extend(len.to_le_bytes());
            table.extend(kind.to_le_bytes());
            table.extend(u32::MAX.to_le_bytes());
        }
        table.extend([1; MEMORY_MAP_ENTRY_BYTES - 1]);
        let entries: Vec<_> = memory_map_entries(&table).collect();
        let expected = [
            RawEntry { base: 0, len: 0x9_fc00, kind: RegionKind::Usable },
            RawEntry { base: 0xfffc_0000, len: 0x4_0000, kind: RegionKind::Reserved },
            RawEntry { base: 1 << 40, len: 5, kind: RegionKind::Persistent },
        ];
        assert_eq!(entries, expected);
    }

    #[test]
    fn modules_are_read_at_their_offsets() {
        let mut list = Vec::new();
        for field in [0x10_0000u64, 0x2000, 0, 0, u64::MAX, 2, 0, 0] {
            list.extend(field.to_le_bytes());
        }
        list.push(1);
        let expected = [PhysRange::new(0x10_0000, 0x10_2000), PhysRange::new(u64::MAX, u64::MAX)];
        assert_eq!(modules(&list).collect::<Vec<_>>(), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn arbitrary_bytes_cause_no_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..100), magic in any::<bool>()) {
            if let (true, Some(head)) = (magic, bytes.get_mut(..4)) {
                head.copy_from_slice(&MAGIC.to_le_bytes());
            }
            let _ = StartInfo::parse(&bytes);
            prop_assert_eq!(memory_map_entries(&bytes).count(), bytes.len() / MEMORY_MAP_ENTRY_BYTES);
        }
    }
}
