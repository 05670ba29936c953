//! Tests of the Multiboot 1 parser with valid and malformed structures. The tests of Multiboot 2 share the framebuffer.

use core::mem::{offset_of, size_of};

use proptest::prelude::*;

use super::*;

/// The structure as the specification's C header declares it: the layout that the offsets must agree with.
#[repr(C)]
struct AbiInfo {
    flags: u32,
    mem_lower: u32,
    mem_upper: u32,
    boot_device: u32,
    cmdline: u32,
    mods_count: u32,
    mods_addr: u32,
    symbols: [u32; 4],
    mmap_length: u32,
    mmap_addr: u32,
    drives: [u32; 2],
    config_table: u32,
    boot_loader_name: u32,
    apm_table: u32,
    vbe: [u32; 4],
    framebuffer_addr: [u32; 2],
    framebuffer_pitch: u32,
    framebuffer_width: u32,
    framebuffer_height: u32,
    framebuffer_bpp: u8,
    framebuffer_type: u8,
    colours: [u8; 6],
}

const ALL_FLAGS: u32 = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9 | 1 << 12;

/// A framebuffer in which every field has a distinct value.
pub(in crate::boot) const FRAMEBUFFER: Framebuffer = Framebuffer {
    address: 0x1_8000_0000,
    pitch_bytes: 3200,
    width: 800,
    height: 600,
    bits_per_pixel: 32,
    format: PixelFormat::Rgb {
        red: Channel { shift: 16, bits: 8 },
        green: Channel { shift: 8, bits: 7 },
        blue: Channel { shift: 0, bits: 6 },
    },
};

/// The colours of [`FRAMEBUFFER`], as both Multiboots encode them.
pub(in crate::boot) const COLOURS: [u8; 6] = [16, 8, 8, 7, 0, 6];

/// [`FRAMEBUFFER`] without its colours and with this type, as both Multiboots encode it: address, pitch, width, height, bits per
/// pixel, type.
pub(in crate::boot) fn screen_bytes(kind: u8) -> [u8; 22] {
    let mut bytes = [0; 22];
    for (index, word) in [0x8000_0000u32, 1, 3200, 800, 600].into_iter().enumerate() {
        bytes[4 * index..][..4].copy_from_slice(&word.to_le_bytes());
    }
    bytes[20..].copy_from_slice(&[32, kind]);
    bytes
}

/// A structure in which every field that is read has a distinct value.
fn sample(flags: u32) -> [u8; INFO_BYTES] {
    let mut bytes = [0; INFO_BYTES];
    let mut put = |offset: usize, value: u32| bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    put(offset_of!(AbiInfo, flags), flags);
    put(offset_of!(AbiInfo, mem_lower), 639);
    put(offset_of!(AbiInfo, mem_upper), 130_000);
    put(offset_of!(AbiInfo, cmdline), 0x9000);
    put(offset_of!(AbiInfo, mods_count), 2);
    put(offset_of!(AbiInfo, mods_addr), 0xa000);
    put(offset_of!(AbiInfo, mmap_length), 0x60);
    put(offset_of!(AbiInfo, mmap_addr), 0xb000);
    put(offset_of!(AbiInfo, boot_loader_name), 0xc000);
    let screen = offset_of!(AbiInfo, framebuffer_addr);
    bytes[screen..screen + 22].copy_from_slice(&screen_bytes(1));
    bytes[offset_of!(AbiInfo, colours)..].copy_from_slice(&COLOURS);
    bytes
}

fn entry(size: u32, base: u64, len: u64, kind: u32) -> Vec<u8> {
    let mut bytes = size.to_le_bytes().to_vec();
    bytes.extend(base.to_le_bytes());
    bytes.extend(len.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.resize(4 + (size as usize).max(20), 0xee);
    bytes
}

fn collect(map: &[u8]) -> Result<Vec<RawEntry>, Multiboot1Error> {
    memory_map_entries(map).map(Iterator::collect)
}

#[test]
fn sizes_and_numbers_are_those_of_the_specification() {
    assert_eq!(size_of::<AbiInfo>(), INFO_BYTES);
    assert_eq!(HEADER_MAGIC.wrapping_add(7).wrapping_add(header_checksum(7)), 0);
    // The specification's own example, which wants pages and memory.
    assert_eq!(header_checksum(HEADER_PAGE_ALIGN | HEADER_MEMORY_INFO), 0xe452_4ffb);
}

#[test]
fn every_field_is_read_at_its_offset() {
    let expected = Info {
        flags: ALL_FLAGS,
        basic_memory: Some(BasicMemory { lower_kib: 639, upper_kib: 130_000 }),
        command_line_address: Some(0x9000),
        modules: Some(Table { address: 0xa000, entries: 2 }),
        memory_map: Some(PhysRange::new(0xb000, 0xb060)),
        loader_name_address: Some(0xc000),
        framebuffer: Some(FRAMEBUFFER),
    };
    assert_eq!(Info::parse(&sample(ALL_FLAGS)), Ok(expected));
}

#[test]
fn a_field_counts_only_if_its_flag_is_set() {
    let info = Info::parse(&sample(0)).unwrap();
    assert_eq!((info.basic_memory, info.command_line_address, info.modules), (None, None, None));
    assert_eq!((info.memory_map, info.loader_name_address, info.framebuffer), (None, None, None));
}

#[test]
fn a_zero_address_or_count_means_none() {
    for (field, size) in [(16, 4), (20, 4), (24, 4), (44, 4), (48, 4), (64, 4), (88, 8)] {
        let mut bytes = sample(ALL_FLAGS);
        bytes[field..field + size].fill(0);
        let info = Info::parse(&bytes).unwrap();
        assert_eq!(info.command_line_address.is_none(), field == 16);
        assert_eq!(info.modules.is_none(), field == 20 || field == 24);
        assert_eq!(info.memory_map.is_none(), field == 44 || field == 48);
        assert_eq!(info.loader_name_address.is_none(), field == 64);
        assert_eq!(info.framebuffer.is_none(), field == 88);
    }
}

#[test]
fn a_structure_may_end_after_its_last_valid_field() {
    for (flag, end) in [(0, 12), (2, 20), (3, 28), (6, 52), (9, 68), (12, 116)] {
        let bytes = sample(1 << flag);
        assert!(Info::parse(&bytes[..end]).is_ok(), "flag {flag}");
        let error = Info::parse(&bytes[..end - 1]).unwrap_err();
        assert_eq!(error, Multiboot1Error::Truncated { needed: end, found: end - 1 });
    }
    let error = Info::parse(&[]).unwrap_err();
    assert_eq!(error.to_string(), "the Multiboot information is truncated: 0 of 4 bytes");
}

#[test]
fn only_the_rgb_pixel_format_has_colour_fields() {
    for (number, format) in [(0, PixelFormat::Indexed), (2, PixelFormat::Text), (9, PixelFormat::Unknown(9))]
    {
        let mut bytes = sample(1 << 12);
        bytes[offset_of!(AbiInfo, framebuffer_type)] = number;
        assert_eq!(Info::parse(&bytes[..110]).unwrap().framebuffer.unwrap().format, format);
    }
}

#[test]
fn basic_memory_is_two_ranges() {
    let [low, high] = BasicMemory { lower_kib: 640, upper_kib: u32::MAX }.entries();
    assert_eq!((low.base, low.len, low.kind), (0, 640 << 10, RegionKind::Usable));
    assert_eq!((high.base, high.len), (1 << 20, u64::from(u32::MAX) << 10));
}

#[test]
fn entries_may_be_larger_than_twenty_bytes() {
    let map =
        [entry(20, 0, 0x9_fc00, 1), entry(28, 0xfffc_0000, 0x4_0000, 2), entry(24, 1 << 40, 5, 3)].concat();
    let kinds = [RegionKind::Usable, RegionKind::Reserved, RegionKind::AcpiReclaimable];
    let entries = collect(&map).unwrap();
    assert_eq!(entries.iter().map(|entry| entry.base).collect::<Vec<_>>(), [0, 0xfffc_0000, 1 << 40]);
    assert_eq!(entries.iter().map(|entry| entry.len).collect::<Vec<_>>(), [0x9_fc00, 0x4_0000, 5]);
    assert_eq!(entries.iter().map(|entry| entry.kind).collect::<Vec<_>>(), kinds);
}

#[test]
fn an_entry_of_size_zero_is_an_error() {
    let map = [entry(20, 0, 1, 1), entry(0, 0, 1, 1)].concat();
    let error = collect(&map).unwrap_err();
    assert_eq!(error, Multiboot1Error::MemoryMapEntryTooSmall { offset: 24, size: 0 });
    let text = "the Multiboot memory map's entry at byte 24 has 0 bytes, less than 20";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_map_that_ends_within_an_entry_is_refused_as_a_whole() {
    let map = [entry(20, 0, 1, 1), entry(20, 7, 1, 2)].concat();
    for length in 25..48 {
        let error = collect(&map[..length]).unwrap_err();
        assert_eq!(error, Multiboot1Error::MemoryMapCutOff { offset: 24, length });
    }
    let mut vast = entry(20, 0, 1, 1);
    vast[..4].fill(0xff);
    assert_eq!(collect(&vast).unwrap_err(), Multiboot1Error::MemoryMapCutOff { offset: 0, length: 24 });
    assert_eq!(collect(&[]), Ok(Vec::new()));
}

#[test]
fn modules_have_a_range_and_an_optional_command_line() {
    let words = [0x20_0000u32, 0x20_1000, 0x9100, 0, 0x30_0000, 0x30_0001, 0, 0, 7];
    let list: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let found: Vec<Module> = modules(&list).collect();
    let expected = [(0x20_0000, 0x20_1000, Some(0x9100)), (0x30_0000, 0x30_0001, None)];
    assert_eq!(
        found.iter().map(|m| (m.range.start, m.range.end, m.command_line_address)).collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn the_file_name_is_removed_from_qemus_command_line() {
    assert_eq!(without_file_name(b"/runs/octopod work=boot  x=1", b"qemu"), b"work=boot  x=1");
    assert_eq!(without_file_name(b"/runs/octopod", b"qemu"), b"");
    assert_eq!(without_file_name(b"work=boot x=1", b"GRUB 2.06"), b"work=boot x=1");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn arbitrary_bytes_cause_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Info::parse(&bytes);
        prop_assert_eq!(modules(&bytes).count(), bytes.len() / MODULE_ENTRY_BYTES);
        if let Ok(entries) = memory_map_entries(&bytes) {
            prop_assert!(entries.count() <= bytes.len() / 24);
        }
    }

    /// Random bytes rarely contain a plausible size; these do.
    #[test]
    fn arbitrary_sizes_cause_no_panic(sizes in prop::collection::vec(0u32..40, 0..12), cut in 0usize..40) {
        let mut map: Vec<u8> = sizes.iter().flat_map(|size| entry(*size, 1, 2, 3)).collect();
        map.truncate(map.len().saturating_sub(cut));
        if let Ok(entries) = memory_map_entries(&map) {
            prop_assert!(entries.count() <= map.len() / 24);
        }
    }

    #[test]
    fn a_valid_map_is_read_completely(
        written in prop::collection::vec((20u32..64, any::<u64>(), any::<u64>(), 0u32..9), 0..20),
    ) {
        let map: Vec<u8> = written.iter().flat_map(|(size, base, len, kind)| entry(*size, *base, *len, *kind)).collect();
        let expected: Vec<RawEntry> = written
            .iter()
            .map(|(_, base, len, kind)| RawEntry { base: *base, len: *len, kind: RegionKind::from_e820(*kind) })
            .collect();
        prop_assert_eq!(collect(&map), Ok(expected));
    }
}
