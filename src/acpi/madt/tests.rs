//! Valid tables, invalid tables, and arbitrary bytes.

use proptest::prelude::*;

use super::super::entries::EntryDefect;
use super::*;

/// A whole table around the entries' bytes.
pub(crate) fn table(entries: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[..4].copy_from_slice(b"APIC");
    bytes[4..8].copy_from_slice(&((HEADER_BYTES + entries.len()) as u32).to_le_bytes());
    bytes[36..40].copy_from_slice(&0xfee0_0000u32.to_le_bytes());
    bytes[40..44].copy_from_slice(&1u32.to_le_bytes());
    bytes.extend(entries);
    bytes
}

/// The entries as text, because the crate's entries cannot be compared.
fn walk(entries: &[u8]) -> Vec<Result<String, EntryError>> {
    let bytes = table(entries);
    let madt = Madt::parse(&bytes).unwrap();
    madt.entries().map(|entry| entry.map(|entry| format!("{entry:?}"))).collect()
}

const CPU_0: [u8; 8] = [0, 8, 7, 3, 1, 0, 0, 0];

/// CPU 0 as an entry of that length.
fn cpu_of(length: u8) -> Result<String, EntryError> {
    Ok(format!(
        "LocalApic(LocalApicEntry {{ header: EntryHeader {{ entry_type: 0, length: {length} }}, \
         processor_id: 7, apic_id: 3, flags: 1 }})",
    ))
}

fn cpu_0_read() -> Result<String, EntryError> {
    cpu_of(8)
}

#[test]
fn every_type_is_decoded() {
    let cases: [(&[u8], &str); 8] = [
        (&CPU_0, "LocalApic: processor_id: 7, apic_id: 3, flags: 1"),
        (
            &[1, 12, 9, 0xee, 0, 0, 0xc0, 0xfe, 24, 0, 0, 0],
            "IoApic: io_apic_id: 9, _reserved: 238, io_apic_address: 4273995776, \
             global_system_interrupt_base: 24",
        ),
        (
            &[2, 10, 0, 9, 20, 1, 0, 0, 0x0d, 0x40],
            "InterruptSourceOverride: bus: 0, irq: 9, global_system_interrupt: 276, flags: 16397",
        ),
        (&[3, 8, 0x0f, 0x10, 23, 1, 0, 0], "NmiSource: flags: 4111, global_system_interrupt: 279"),
        (&[4, 6, 0xff, 5, 0x10, 1], "LocalApicNmi: processor_id: 255, flags: 4101, nmi_line: 1"),
        (
            &[5, 12, 0xee, 0xee, 1, 2, 3, 4, 5, 6, 7, 8],
            "LocalApicAddressOverride: _reserved: 61166, local_apic_address: 578437695752307201",
        ),
        (
            &[9, 16, 0xee, 0xee, 1, 1, 0, 0x80, 3, 0, 0, 0, 4, 3, 2, 1],
            "LocalX2Apic: _reserved: 61166, x2apic_id: 2147483905, flags: 3, processor_uid: 16909060",
        ),
        (
            &[10, 12, 5, 0, 0xff, 0xff, 0xff, 0xff, 1, 0xee, 0xee, 0xee],
            "X2ApicNmi: flags: 5, processor_uid: 4294967295, nmi_line: 1, _reserved: [238, 238, 238]",
        ),
    ];
    let all: Vec<u8> = cases.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect();
    let expected = cases.iter().map(|(bytes, entry)| {
        let (name, fields) = entry.split_once(": ").unwrap();
        let [entry_type, length, ..] = **bytes else { panic!("an entry has a type and a length") };
        let header = format!("EntryHeader {{ entry_type: {entry_type}, length: {length} }}");
        Ok(format!("{name}({name}Entry {{ header: {header}, {fields} }})"))
    });
    // Types that the kernel does not use, of the specification and of OEMs, are skipped.
    let others = [[0x7f, 2], [6, 2], [0xff, 2]].concat();
    assert_eq!(walk(&[all, others].concat()), expected.collect::<Vec<_>>());
    for (bytes, _) in &cases {
        assert_eq!(usize::from(size_of_type(bytes[0])), bytes.len(), "type {}", bytes[0]);
    }
}

#[test]
fn cpu_flags_are_bits_0_and_1() {
    let read = |bits| (CpuFlags(bits).enabled(), CpuFlags(bits).online_capable());
    assert_eq!(
        [0, 1, 2, 3, 4].map(read),
        [(false, false), (true, false), (false, true), (true, true), (false, false)]
    );
}

#[test]
fn the_header_is_read_and_type_5_moves_the_apic() {
    let plain = table(&CPU_0);
    let madt = Madt::parse(&plain).unwrap();
    assert_eq!((madt.local_apic_address(), madt.pcat_compat()), (0xfee0_0000, true));
    let mut moved = table(&[5, 12, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    moved[40] = 0xfe;
    let madt = Madt::parse(&moved).unwrap();
    assert_eq!((madt.local_apic_address(), madt.pcat_compat()), (1 << 32, false));
}

#[test]
fn an_entry_longer_than_its_type_is_taken() {
    assert_eq!(walk(&[0, 10, 7, 3, 1, 0, 0, 0, 0xaa, 0xbb, 0x7f, 2]), [cpu_of(10)]);
}

#[test]
fn an_unusable_length_is_reported_and_ends_the_walk() {
    for length in [0, 1] {
        let found = walk(&[&CPU_0[..], &[1, length], &CPU_0[..]].concat());
        let fault =
            EntryError { table: "MADT", offset: 52, entry_type: 1, length, defect: EntryDefect::NoLength };
        assert_eq!(found, [cpu_0_read(), Err(fault)]);
    }
}

#[test]
fn an_entry_past_the_end_is_reported_and_ends_the_walk() {
    let found = walk(&[&CPU_0[..], &[9, 16, 0, 0]].concat());
    let fault = EntryError {
        table: "MADT",
        offset: 52,
        entry_type: 9,
        length: 16,
        defect: EntryDefect::PastEnd { left: 4 },
    };
    assert_eq!(found, [cpu_0_read(), Err(fault)]);
    assert_eq!(
        fault.to_string(),
        "MADT, offset 52: entry of type 9, length 16: only 4 bytes left in the table"
    );
    // The table ends where its header states, not where the slice ends.
    let mut longer = table(&CPU_0[..7]);
    longer.push(CPU_0[7]);
    let found: Vec<_> = Madt::parse(&longer).unwrap().entries().map(Result::unwrap_err).collect();
    let fault = EntryError {
        table: "MADT",
        offset: 44,
        entry_type: 0,
        length: 8,
        defect: EntryDefect::PastEnd { left: 7 },
    };
    assert_eq!(found, [fault]);
}

#[test]
fn half_an_entry_header_at_the_end_is_reported() {
    let found = walk(&[&CPU_0[..], &[9]].concat());
    let fault = EntryError {
        table: "MADT",
        offset: 52,
        entry_type: 9,
        length: 0,
        defect: EntryDefect::PastEnd { left: 1 },
    };
    assert_eq!(found, [cpu_0_read(), Err(fault)]);
}

#[test]
fn zeroes_at_the_end_are_reported_and_hide_no_cpu() {
    for bytes in [1, 2, 8, 100] {
        let found = walk(&[&CPU_0[..], &vec![0; bytes]].concat());
        let defect = EntryDefect::Padding { bytes };
        let fault = EntryError { table: "MADT", offset: 52, entry_type: 0, length: 0, defect };
        assert!(!fault.may_hide_cpus());
        assert_eq!(found, [cpu_0_read(), Err(fault)]);
    }
}

#[test]
fn an_entry_too_short_for_its_type_is_reported_and_skipped() {
    for (entry_type, needed) in [(0, 8), (1, 12), (2, 10), (4, 6), (5, 12), (9, 16), (10, 12)] {
        for length in 2..needed {
            let mut bytes = vec![0xcc; length.into()];
            bytes[..2].copy_from_slice(&[entry_type, length]);
            bytes.extend(CPU_0);
            let fault = EntryError {
                table: "MADT",
                offset: 44,
                entry_type,
                length,
                defect: EntryDefect::TooShort { needed },
            };
            assert_eq!(walk(&bytes), [Err(fault), cpu_0_read()]);
        }
    }
}

#[test]
fn an_invalid_header_is_rejected() {
    let good = table(&CPU_0);
    for found in 0..HEADER_BYTES {
        assert_eq!(Madt::parse(&good[..found]).unwrap_err(), MadtError::NoHeader { found });
    }
    assert_eq!(Madt::parse(&good[..51]).unwrap_err(), MadtError::BadLength { stated: 52, found: 51 });
    for stated in [0, 43, 53, u32::MAX] {
        let mut bytes = good.clone();
        bytes[4..8].copy_from_slice(&stated.to_le_bytes());
        assert_eq!(Madt::parse(&bytes).unwrap_err(), MadtError::BadLength { stated, found: 52 });
    }
    let mut other = good.clone();
    other[..4].copy_from_slice(b"FA\x01P");
    let error = Madt::parse(&other).unwrap_err();
    assert_eq!(error.to_string(), "signature \"FA\\x01P\" instead of \"APIC\"");
}

#[test]
fn a_table_without_entries_is_empty() {
    assert_eq!(walk(&[]), []);
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) }
}

/// Bytes in which types and lengths are often nearly right.
fn any_entries() -> impl Strategy<Value = Vec<u8>> {
    let entry = (0..12u8, 0..18u8, prop::collection::vec(any::<u8>(), 0..18)).prop_map(
        |(entry_type, length, tail)| {
            let mut bytes = vec![entry_type, length];
            bytes.extend(tail);
            bytes
        },
    );
    prop::collection::vec(entry, 0..12).prop_map(|entries| entries.concat())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_table_ends_and_accounts_for_every_byte(entries in any_entries()) {
        let bytes = table(&entries);
        let madt = Madt::parse(&bytes).unwrap();
        let found: Vec<_> = madt.walk().collect();
        prop_assert_eq!(madt.entries().filter_map(Result::err).count(), found.iter().flatten().count().abs_diff(found.len()));
        prop_assert!(found.len() <= entries.len().div_ceil(2));
        // A simple oracle: where does each entry begin, and does the last one end with the table?
        let mut at = 0;
        for entry in &found {
            prop_assert!(at < entries.len());
            let length = entries.get(at + 1).copied().unwrap_or(0);
            match entry {
                Ok(_) => prop_assert!(length >= size_of_type(entries[at])),
                Err(fault) => {
                    prop_assert_eq!(fault.offset, HEADER_BYTES + at);
                    prop_assert_eq!((fault.entry_type, fault.length), (entries[at], length));
                    if !matches!(fault.defect, EntryDefect::TooShort { .. }) {
                        prop_assert!(length < 2 || at + usize::from(length) > entries.len());
                        at = entries.len();
                        continue;
                    }
                }
            }
            at += usize::from(length);
        }
        prop_assert_eq!(at, entries.len());
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), repair in any::<bool>()) {
        let mut bytes = bytes;
        if let (true, Some(head)) = (repair, bytes.get_mut(..8)) {
            head.copy_from_slice(b"APIC\x40\0\0\0");
        }
        if let Ok(madt) = Madt::parse(&bytes) {
            prop_assert!(madt.entries().count() <= bytes.len());
            let _ = (madt.local_apic_address(), madt.pcat_compat());
        }
    }
}
