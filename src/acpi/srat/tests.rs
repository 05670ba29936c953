//! Valid tables, invalid tables, and arbitrary bytes.

use proptest::prelude::*;

use super::super::entries::EntryDefect;
use super::*;

/// A whole table around the entries' bytes.
pub(crate) fn table(entries: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[..4].copy_from_slice(b"SRAT");
    bytes[4..8].copy_from_slice(&((HEADER_BYTES + entries.len()) as u32).to_le_bytes());
    bytes.extend(entries);
    bytes
}

/// Type 1.
pub(crate) fn memory(domain: u32, base: u64, bytes: u64, flags: u32) -> Vec<u8> {
    let domain = domain.to_le_bytes();
    let head = [&[1, 40][..], &domain, &[0xee; 2], &base.to_le_bytes(), &bytes.to_le_bytes()].concat();
    [&head[..], &[0xee; 4], &flags.to_le_bytes(), &[0xee; 8]].concat()
}

/// Type 2.
pub(crate) fn x2apic(domain: u32, apic_id: u32, flags: u32) -> Vec<u8> {
    let words = [domain, apic_id, flags, 0].map(u32::to_le_bytes);
    [&[2, 24, 0xee, 0xee][..], &words.concat(), &[0xee; 4]].concat()
}

/// Type 0.
pub(crate) fn apic(domain: u32, apic_id: u8, flags: u32) -> Vec<u8> {
    let [low, upper @ ..] = domain.to_le_bytes();
    [&[0, 16, low, apic_id][..], &flags.to_le_bytes(), &[0xee], &upper, &[0xee; 4]].concat()
}

fn walk(entries: &[Vec<u8>]) -> Vec<Result<Affinity, EntryError>> {
    Srat::parse(&table(&entries.concat())).unwrap().affinities().collect()
}

#[test]
fn every_type_is_decoded() {
    let domain = 0x8765_4321;
    let found = walk(&[
        apic(domain, 3, 1),
        memory(domain, 1 << 40 | 5, 1 << 33 | 7, 1),
        x2apic(domain, 0x1_0203, 1),
        vec![5, 4, 0, 0],
    ]);
    assert_eq!(
        found,
        [
            Ok(Affinity::Cpu { apic_id: ApicId(3), domain }),
            Ok(Affinity::Memory { base: 1 << 40 | 5, bytes: 1 << 33 | 7, domain, kind: MemoryKind::Plain }),
            Ok(Affinity::Cpu { apic_id: ApicId(0x1_0203), domain }),
        ]
    );
}

#[test]
fn disabled_entries_are_skipped() {
    assert_eq!(walk(&[apic(0, 0, 0), memory(0, 0, 9, 2), x2apic(0, 0, 2)]), []);
}

#[test]
fn flags_select_the_kind_of_memory() {
    use MemoryKind::{HotPluggable, NonVolatile, Plain};
    for (flags, kind) in [(1, Plain), (3, HotPluggable), (5, NonVolatile), (7, NonVolatile), (9, Plain)] {
        let found = walk(&[memory(1, 0, 9, flags)]);
        assert_eq!(found, [Ok(Affinity::Memory { base: 0, bytes: 9, domain: 1, kind })], "{flags}");
    }
}

#[test]
fn invalid_entries_are_reported() {
    let fault = |offset, entry_type, length, defect| {
        Err(EntryError { table: "SRAT", offset, entry_type, length, defect })
    };
    let mut short = memory(0, 0, 9, 1);
    short[1] = 39;
    assert_eq!(walk(&[short])[0], fault(48, 1, 39, EntryDefect::TooShort { needed: 40 }));
    let mut long = apic(0, 0, 1);
    long[1] = 17;
    assert_eq!(walk(&[long]), [fault(48, 0, 17, EntryDefect::PastEnd { left: 16 })]);
    assert_eq!(walk(&[apic(0, 0, 0), vec![1, 0]]), [fault(64, 1, 0, EntryDefect::NoLength)]);
}

#[test]
fn an_invalid_header_is_rejected() {
    let error = |bytes: &[u8]| Srat::parse(bytes).err();
    assert_eq!(error(&[]), Some(SratHeaderError { stated: 0, found: 0 }));
    let mut bytes = table(&[]);
    assert!(Srat::parse(&bytes).unwrap().affinities().next().is_none());
    bytes[0] = b's';
    assert_eq!(error(&bytes), Some(SratHeaderError { stated: 48, found: 48 }));
    for length in [0u32, 47, 49, u32::MAX] {
        let mut bytes = table(&[]);
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        assert_eq!(error(&bytes), Some(SratHeaderError { stated: length, found: 48 }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for bytes in [bytes.clone(), table(&bytes)] {
            if let Ok(srat) = Srat::parse(&bytes) {
                prop_assert!(srat.affinities().count() <= bytes.len() / 2);
            }
        }
    }
}
