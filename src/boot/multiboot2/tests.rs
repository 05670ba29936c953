//! Tests of the Multiboot 2 parser with valid and malformed structures.

use proptest::prelude::*;

use super::super::multiboot1::PixelFormat;
use super::super::multiboot1::tests::{COLOURS, FRAMEBUFFER, screen_bytes};
use super::*;

/// A structure of these tags, each padded as the specification has it.
fn structure(tags: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0; HEAD_BYTES];
    for (kind, body) in tags {
        bytes.extend(kind.to_le_bytes());
        bytes.extend((8 + body.len() as u32).to_le_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(8), 0xee);
    }
    with_total(bytes)
}

/// The same, with the end tag.
fn ended(tags: &[(u32, Vec<u8>)]) -> Vec<u8> {
    structure(&[tags, &[(tag::END, Vec::new())]].concat())
}

fn with_total(mut bytes: Vec<u8>) -> Vec<u8> {
    let total = bytes.len() as u32;
    bytes[..4].copy_from_slice(&total.to_le_bytes());
    bytes
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn memory_map(entry_size: u32, entries: &[(u64, u64, u32)]) -> Vec<u8> {
    let mut body = words(&[entry_size, 0]);
    for (base, len, kind) in entries {
        let begin = body.len();
        body.extend(base.to_le_bytes());
        body.extend(len.to_le_bytes());
        body.extend(kind.to_le_bytes());
        body.resize(begin + entry_size as usize, 0xee);
    }
    body
}

fn module(start: u32, end: u32, command_line: &[u8]) -> Vec<u8> {
    [&words(&[start, end]), command_line].concat()
}

fn screen(kind: u8) -> Vec<u8> {
    [&screen_bytes(kind)[..], &[0, 0], &COLOURS].concat()
}

fn error(bytes: &[u8]) -> Multiboot2Error {
    Info::parse(bytes).expect_err("broken")
}

#[test]
fn every_tag_is_read() {
    let map = memory_map(24, &[(0, 0x9_fc00, 1), (0xfffc_0000, 0x4_0000, 2)]);
    let bytes = ended(&[
        (tag::COMMAND_LINE, b"work=boot\0".to_vec()),
        (tag::LOADER_NAME, b"GRUB 2.06\0".to_vec()),
        (tag::BASIC_MEMORY, words(&[639, 130_000])),
        (tag::MODULE, module(0x20_0000, 0x20_1000, b"one\0")),
        (9, vec![1; 13]),
        (tag::MEMORY_MAP, map),
        (tag::FRAMEBUFFER, screen(1)),
        (tag::MODULE, module(0x30_0000, 0x30_0001, b"\0")),
        (tag::ACPI_OLD, vec![14; 20]),
        (tag::ACPI_NEW, vec![15; 36]),
        (tag::LOAD_BASE, words(&[0x20_0000])),
    ]);
    let info = Info::parse(&bytes).unwrap();
    assert_eq!(info.command_line, Some(&b"work=boot"[..]));
    assert_eq!(info.loader_name, Some(&b"GRUB 2.06"[..]));
    assert_eq!(info.basic_memory, Some(BasicMemory { lower_kib: 639, upper_kib: 130_000 }));
    let modules: Vec<Module> = info.modules().collect();
    assert_eq!(modules[0], Module { range: PhysRange::new(0x20_0000, 0x20_1000), command_line: b"one" });
    assert_eq!(modules[1], Module { range: PhysRange::new(0x30_0000, 0x30_0001), command_line: b"" });
    assert_eq!(modules.len(), 2);
    let entries: Vec<RawEntry> = info.memory_map.unwrap().entries().collect();
    let expected = [
        RawEntry { base: 0, len: 0x9_fc00, kind: RegionKind::Usable },
        RawEntry { base: 0xfffc_0000, len: 0x4_0000, kind: RegionKind::Reserved },
    ];
    assert_eq!(entries, expected);
    assert_eq!(info.framebuffer, Some(FRAMEBUFFER));
    assert_eq!(info.rsdp, Some(&[15; 36][..]));
    assert_eq!(info.load_base, Some(0x20_0000));
}

#[test]
fn a_structure_without_tags_is_empty() {
    let bytes = ended(&[]);
    let info = Info::parse(&bytes).unwrap();
    assert_eq!((info.command_line, info.rsdp, info.load_base), (None, None, None));
    assert!(info.memory_map.is_none() && info.framebuffer.is_none() && info.basic_memory.is_none());
    assert_eq!(info.modules().count(), 0);
}

#[test]
fn the_new_rsdp_has_priority_in_any_order() {
    let (old, new) = ((tag::ACPI_OLD, vec![14; 20]), (tag::ACPI_NEW, vec![15; 36]));
    let rsdp = |tags: &[(u32, Vec<u8>)]| Info::parse(&ended(tags)).unwrap().rsdp.map(<[u8]>::to_vec);
    assert_eq!(rsdp(std::slice::from_ref(&old)), Some(vec![14; 20]));
    assert_eq!(rsdp(&[new, old]), Some(vec![15; 36]));
}

#[test]
fn of_two_tags_the_first_counts() {
    let bytes = ended(&[(tag::COMMAND_LINE, b"one\0".to_vec()), (tag::COMMAND_LINE, b"two\0".to_vec())]);
    assert_eq!(Info::parse(&bytes).unwrap().command_line, Some(&b"one"[..]));
}

#[test]
fn a_command_line_without_its_zero_ends_with_the_tag() {
    let bytes = ended(&[(tag::COMMAND_LINE, b"work=boot".to_vec())]);
    assert_eq!(Info::parse(&bytes).unwrap().command_line, Some(&b"work=boot"[..]));
}

#[test]
fn a_truncated_structure_is_refused() {
    let bytes = ended(&[(tag::COMMAND_LINE, b"work=boot\0".to_vec())]);
    for length in 0..bytes.len() {
        let needed = if length < 4 { HEAD_BYTES } else { bytes.len() };
        assert_eq!(error(&bytes[..length]), Multiboot2Error::Truncated { needed, found: length });
    }
}

#[test]
fn bytes_after_the_structure_are_ignored() {
    let mut bytes = ended(&[]);
    bytes.extend([0xff; 40]);
    assert!(Info::parse(&bytes).is_ok());
}

#[test]
fn a_length_below_the_head_is_refused() {
    assert_eq!(total_bytes(&[7, 0, 0, 0, 0, 0, 0, 0]), Err(Multiboot2Error::TooShort { total: 7 }));
    assert_eq!(error(&[0; 64]), Multiboot2Error::TooShort { total: 0 });
    assert_eq!(total_bytes(&[0xff; 8]), Ok(u32::MAX));
}

#[test]
fn a_missing_end_tag_is_an_error() {
    let bytes = structure(&[(tag::COMMAND_LINE, b"work=boot\0".to_vec())]);
    assert_eq!(error(&bytes), Multiboot2Error::NoEndTag { total: bytes.len() });
    assert_eq!(error(&with_total(vec![0; 8])), Multiboot2Error::NoEndTag { total: 8 });
    // Only half of the end tag is there.
    let mut bytes = ended(&[]);
    bytes.truncate(12);
    assert_eq!(error(&with_total(bytes)), Multiboot2Error::NoEndTag { total: 12 });
}

#[test]
fn a_tag_smaller_than_its_head_is_an_error() {
    for size in 0..8 {
        let mut bytes = ended(&[(tag::COMMAND_LINE, vec![0; 8])]);
        bytes[12..16].copy_from_slice(&u32::to_le_bytes(size));
        assert_eq!(error(&bytes), Multiboot2Error::TagTooSmall { offset: 8, kind: tag::COMMAND_LINE, size });
    }
}

#[test]
fn a_tag_after_the_end_is_refused() {
    let (kind, total) = (tag::COMMAND_LINE, 32);
    let claiming = |size: u32| {
        let mut bytes = ended(&[(kind, vec![0; 8])]);
        bytes[12..16].copy_from_slice(&size.to_le_bytes());
        error(&bytes)
    };
    for size in [25, 33, u32::MAX] {
        assert_eq!(claiming(size), Multiboot2Error::TagPastEnd { offset: 8, kind, size, total });
    }
    // These still end within the structure, but hide the end tag.
    for size in [17, 24] {
        assert_eq!(claiming(size), Multiboot2Error::NoEndTag { total });
    }
}

#[test]
fn a_tag_too_short_for_its_kind_is_refused() {
    for (kind, least) in [
        (tag::MODULE, 8),
        (tag::BASIC_MEMORY, 8),
        (tag::FRAMEBUFFER, 30),
        (tag::ACPI_OLD, 20),
        (tag::ACPI_NEW, 36),
        (tag::LOAD_BASE, 4),
    ] {
        let mut body = screen(1);
        body.resize(least, 0);
        assert!(Info::parse(&ended(&[(kind, body.clone())])).is_ok(), "{kind}");
        body.pop();
        let expected = Multiboot2Error::TagCutOff { kind, needed: 8 + least, found: 7 + least };
        assert_eq!(error(&ended(&[(kind, body)])), expected);
    }
    let kind = tag::MEMORY_MAP;
    let expected = Multiboot2Error::TagCutOff { kind, needed: 16, found: 12 };
    assert_eq!(error(&ended(&[(kind, words(&[24]))])), expected);
}

#[test]
fn memory_map_entries_may_grow_but_not_shrink() {
    let bytes = ended(&[(tag::MEMORY_MAP, memory_map(40, &[(1, 2, 3), (4, 5, 4)]))]);
    let entries: Vec<RawEntry> = Info::parse(&bytes).unwrap().memory_map.unwrap().entries().collect();
    assert_eq!((entries[0].len, entries[1].base, entries.len()), (2, 4, 2));
    for size in [0, 20, 23] {
        let bytes = ended(&[(tag::MEMORY_MAP, words(&[size, 0, 1, 2, 3, 4, 5, 6]))]);
        assert_eq!(error(&bytes), Multiboot2Error::MemoryMapEntryTooSmall { size });
    }
}

#[test]
fn a_text_framebuffer_needs_no_colour_fields() {
    let mut body = screen(2);
    body.truncate(22);
    let bytes = ended(&[(tag::FRAMEBUFFER, body)]);
    assert_eq!(Info::parse(&bytes).unwrap().framebuffer.unwrap().format, PixelFormat::Text);
}

#[test]
fn errors_read_as_sentences() {
    let error = Multiboot2Error::TagPastEnd { offset: 8, kind: 1, size: 33, total: 32 };
    let text = "the Multiboot 2 tag 1 at byte 8 has size 33 and ends past the information's 32 bytes";
    assert_eq!(error.to_string(), text);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn arbitrary_bytes_cause_no_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), honest in any::<bool>()) {
        if honest && bytes.len() >= HEAD_BYTES {
            bytes = with_total(bytes);
        }
        if let Ok(info) = Info::parse(&bytes) {
            prop_assert!(info.modules().count() < bytes.len());
        }
    }

    /// Random bytes rarely contain a plausible kind and size; these do, and one of them is wrong.
    #[test]
    fn arbitrary_tags_cause_no_panic(
        tags in prop::collection::vec((0u32..24, prop::collection::vec(any::<u8>(), 0..48)), 0..8),
        at in any::<prop::sample::Index>(),
        wrong in any::<u32>(),
    ) {
        let mut bytes = ended(&tags);
        let place = at.index(bytes.len() / 4) * 4;
        bytes[place..place + 4].copy_from_slice(&wrong.to_le_bytes());
        if let Ok(info) = Info::parse(&bytes) {
            prop_assert!(info.modules().count() <= tags.len() + 1);
            prop_assert!(info.memory_map.is_none_or(|map| map.entries().count() < bytes.len()));
        }
    }

    #[test]
    fn a_valid_structure_is_read_completely(
        command_line in "[ -~]{0,60}",
        modules in prop::collection::vec((any::<u32>(), any::<u32>(), "[a-z]{0,9}"), 0..5),
        entries in prop::collection::vec((any::<u64>(), any::<u64>(), 0u32..9), 0..20),
        entry_size in 24u32..50,
    ) {
        let mut tags = vec![
            (tag::COMMAND_LINE, [command_line.as_bytes(), b"\0"].concat()),
            (tag::MEMORY_MAP, memory_map(entry_size, &entries)),
        ];
        tags.extend(modules.iter().map(|(start, end, line)| (tag::MODULE, module(*start, *end, line.as_bytes()))));
        let bytes = ended(&tags);
        let info = Info::parse(&bytes).unwrap();
        prop_assert_eq!(info.command_line, Some(command_line.as_bytes()));
        let found: Vec<_> = info.modules().map(|module| (module.range, module.command_line)).collect();
        let expected: Vec<_> = modules
            .iter()
            .map(|(start, end, line)| (PhysRange::new((*start).into(), (*end).into()), line.as_bytes()))
            .collect();
        prop_assert_eq!(found, expected);
        let found: Vec<RawEntry> = info.memory_map.unwrap().entries().collect();
        let expected: Vec<RawEntry> = entries
            .iter()
            .map(|(base, len, kind)| RawEntry { base: *base, len: *len, kind: RegionKind::from_e820(*kind) })
            .collect();
        prop_assert_eq!(found, expected);
    }
}
