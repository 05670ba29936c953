//! Valid and invalid lists of tables. `ci/tests/acpi` has complete images of tables.

use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;

/// Memory that has only the given tables.
#[derive(Default)]
pub(crate) struct FakeMemory(BTreeMap<u64, Vec<u8>>);

impl<'a> TableMemory<'a> for &'a FakeMemory {
    fn peek(&self, address: u64, bytes: &mut [u8]) -> Result<(), AddressFault> {
        bytes.copy_from_slice(self.map(address, bytes.len() as u64)?);
        Ok(())
    }

    fn map(&self, address: u64, bytes: u64) -> Result<&'a [u8], AddressFault> {
        let (start, found) = self.0.range(..=address).next_back().ok_or(AddressFault::Nothing)?;
        let at = (address - start) as usize;
        found.get(at..at + bytes as usize).ok_or(AddressFault::Nothing)
    }
}

fn set_checksum(bytes: &mut [u8], at: usize) {
    bytes[at] = bytes[at].wrapping_sub(sum(bytes));
}

fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = [&signature[..], &(36 + body.len() as u32).to_le_bytes(), &[0xff; 28], body].concat();
    set_checksum(&mut bytes, 9);
    bytes
}

fn xsdt(addresses: &[u64]) -> Vec<u8> {
    table(b"XSDT", &addresses.iter().flat_map(|address| address.to_le_bytes()).collect::<Vec<_>>())
}

fn rsdt(addresses: &[u64]) -> Vec<u8> {
    table(b"RSDT", &addresses.iter().flat_map(|address| (*address as u32).to_le_bytes()).collect::<Vec<_>>())
}

fn rsdp(revision: u8, rsdt: u32, xsdt: u64) -> Vec<u8> {
    let mut bytes = [&b"RSD PTR "[..], &[0; 7], &[revision], &rsdt.to_le_bytes()].concat();
    set_checksum(&mut bytes, 8);
    bytes.extend([&36u32.to_le_bytes()[..], &xsdt.to_le_bytes(), &[0; 4]].concat());
    set_checksum(&mut bytes, 32);
    bytes
}

/// A MADT that lists that many CPUs.
fn madt(cpus: u8) -> Vec<u8> {
    let entries = (0..cpus).flat_map(|id| [0, 8, id, id, 1, 0, 0, 0]);
    table(b"APIC", &[0u8; 8].into_iter().chain(entries).collect::<Vec<_>>())
}

const RSDP: u64 = 0x1000;

fn memory_with(rsdp: Vec<u8>, tables: Vec<(u64, Vec<u8>)>) -> FakeMemory {
    FakeMemory(tables.into_iter().chain([(RSDP, rsdp)]).collect())
}

fn find_in(memory: &FakeMemory) -> (Result<Tables<'_>, NoTables>, Vec<String>) {
    let mut reported = Vec::new();
    let mut sink = |defect: &Defect<'_>| reported.push(defect.to_string());
    let found = find(&memory, [RsdpSource::Loader(RSDP)].into_iter(), 0, &mut sink);
    (found, reported)
}

#[track_caller]
fn madt_of(memory: &FakeMemory) -> (Option<u64>, Vec<String>) {
    let (found, reported) = find_in(memory);
    (found.unwrap().madt.map(|table| table.address), reported)
}

#[test]
fn the_revision_and_the_address_decide_between_the_lists() {
    let lists =
        || vec![(0x2000, xsdt(&[0x4000])), (0x3000, rsdt(&[0x5000])), (0x4000, madt(1)), (0x5000, madt(2))];
    for (revision, xsdt_at, expected) in
        [(2, 0x2000, 0x4000), (255, 0x2000, 0x4000), (2, 0, 0x5000), (1, 0x2000, 0x5000), (0, 0x2000, 0x5000)]
    {
        let found = madt_of(&memory_with(rsdp(revision, 0x3000, xsdt_at), lists()));
        assert_eq!(found, (Some(expected), vec![]), "revision {revision}");
    }
    // Revision 1 with 20 bytes, at the very end of its memory.
    let found = madt_of(&memory_with(rsdp(1, 0x3000, 0)[..20].to_vec(), lists()));
    assert_eq!(found, (Some(0x5000), vec![]));
}

#[test]
fn after_an_invalid_xsdt_the_rsdt_is_read() {
    let mut broken = xsdt(&[0x4000]);
    broken[40] ^= 1;
    let empty = xsdt(&[]);
    let of_itself = xsdt(&[0x2000; 8]);
    let nulls = xsdt(&[0; 3]);
    let mut too_long = xsdt(&[0x4000]);
    too_long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    for (list, part) in [
        (broken, "XSDT at 0x2000: the checksum is wrong"),
        (empty, "XSDT at 0x2000: no usable table"),
        (
            of_itself,
            "XSDT at 0x2000, offset 36: names a table at 0x2000: signature \"XSDT\": not used, nor are 7 more",
        ),
        (nulls, "XSDT at 0x2000: no usable table"),
        (too_long, "XSDT at 0x2000: a length of 4294967295 bytes"),
        (rsdt(&[0x4000]), "XSDT at 0x2000: signature \"RSDT\""),
    ] {
        let tables = vec![(0x2000, list), (0x3000, rsdt(&[0x4000])), (0x4000, madt(1))];
        let (found, reported) = madt_of(&memory_with(rsdp(2, 0x3000, 0x2000), tables));
        assert_eq!(found, Some(0x4000));
        assert!(reported[0].contains(part), "{part}: {reported:#?}");
    }
}

#[test]
fn after_an_invalid_extended_part_the_rsdt_is_read() {
    let tables =
        || vec![(0x2000, xsdt(&[0x5000])), (0x3000, rsdt(&[0x4000])), (0x4000, madt(1)), (0x5000, madt(2))];
    let mut broken = rsdp(2, 0x3000, 0x2000);
    broken[32] ^= 1;
    let mut short = rsdp(2, 0x3000, 0x2000);
    short[20] = 33;
    set_checksum(&mut short, 32);
    let mut long = rsdp(2, 0x3000, 0x2000);
    long[20..24].fill(0xff);
    set_checksum(&mut long, 32);
    for (rsdp, part) in [
        (long, "a length of 4294967295: no XSDT"),
        (broken, "the extended checksum is wrong: no XSDT"),
        (short, "a length of 33: no XSDT"),
        (rsdp(2, 0x3000, 0x2000)[..20].to_vec(), "only 20 bytes: no XSDT"),
    ] {
        let (found, reported) = madt_of(&memory_with(rsdp, tables()));
        assert_eq!(found, Some(0x4000));
        assert!(reported[0].starts_with("RSDP at 0x1000") && reported[0].contains(part), "{reported:#?}");
    }
}

#[test]
fn a_later_revision_may_be_longer() {
    let mut longer = [&rsdp(3, 0, 0x2000)[..], &[7; 4]].concat();
    longer[20] = 40;
    set_checksum(&mut longer, 32);
    let tables = vec![(0x2000, xsdt(&[0x4000])), (0x4000, madt(1))];
    assert_eq!(madt_of(&memory_with([&longer[..], &[0; 99]].concat(), tables)), (Some(0x4000), vec![]));
}

#[test]
fn after_an_rsdp_without_tables_the_next_is_read() {
    let mut tables = vec![(0x2000, xsdt(&[0x4000])), (0x4000, madt(1)), (0x8000, rsdp(2, 0, 0x2000))];
    tables.push((0x9000, b"RSD PTR nonsense....".to_vec()));
    let memory = memory_with(rsdp(2, 0, 0x9_9999), tables);
    let find_by = |sources: &[RsdpSource<'_>]| {
        let mut reported = Vec::new();
        let mut sink = |defect: &Defect<'_>| reported.push(defect.to_string());
        let found = find(&&memory, sources.iter().copied(), 0, &mut sink);
        (found.map(|tables| tables.rsdp), reported)
    };
    let named = [0x7000, 0x9000, RSDP].map(RsdpSource::CommandLine);
    let (found, reported) = find_by(&[&named[..], &[RsdpSource::Loader(0x8000)]].concat());
    assert_eq!(found, Ok(Some(0x8000)));
    let expected = [
        "RSDP at 0x7000: from acpi_rsdp=: not in memory: not used",
        "RSDP at 0x9000: from acpi_rsdp=: the checksum is wrong: not used",
        "XSDT at 0x99999: not in memory: not used",
        "RSDP at 0x1000: from acpi_rsdp=: no usable table: not used",
    ];
    assert_eq!(reported, expected);
    assert_eq!(find_by(&named[..1]).0, Err(NoTables::Unusable));
    assert_eq!(find_by(&[]), (Err(NoTables::NoRsdp), vec![]));
    let copy = rsdp(2, 0, 0x2000);
    assert_eq!(find_by(&[RsdpSource::Copy(&copy)]), (Ok(None), vec![]));
    assert_eq!(find_by(&[RsdpSource::Copy(&copy[..19])]).0, Err(NoTables::Unusable));
}

#[test]
fn a_bios_has_it_at_a_multiple_of_16() {
    let mut rom = vec![0; 0x2_0000];
    rom[0x1_5a18..][..36].copy_from_slice(&rsdp(2, 0, 0x2000));
    let tables =
        |rom| memory_with(vec![], vec![(0x2000, xsdt(&[0x4000])), (0x4000, madt(1)), (0xe_0000, rom)]);
    let find_by_bios = |memory: &FakeMemory, area| {
        let found = find(&memory, core::iter::empty(), area, &mut |_| {});
        found.map(|tables| tables.rsdp)
    };
    assert_eq!(find_by_bios(&tables(rom.clone()), 0), Err(NoTables::NoRsdp));
    rom[0x1_5a20..][..36].copy_from_slice(&rsdp(2, 0, 0x2000));
    assert_eq!(find_by_bios(&tables(rom), 0), Ok(Some(0xf_5a20)));
    let mut in_extended_area = tables(vec![0; 0x2_0000]);
    in_extended_area.0.insert(0x9_fc00, [vec![0; 0x3f0 - 0x20], rsdp(0, 0, 0), vec![0; 12]].concat());
    in_extended_area.0.get_mut(&0x9_fc00).unwrap()[0x3d0..][..36].copy_from_slice(&rsdp(2, 0, 0x2000));
    assert_eq!(find_by_bios(&in_extended_area, 0x9_fc00), Ok(Some(0x9_ffd0)));
    assert_eq!(find_by_bios(&in_extended_area, 0xb_0000), Err(NoTables::NoRsdp));
}

#[test]
fn tables_are_bytes_at_any_alignment() {
    // OEM fields of 0xff, which are no text, are in every table of these tests.
    for at in 1..16 {
        let tables = vec![(0x2000 + at, xsdt(&[0x4000 + at])), (0x4000 + at, madt(3))];
        assert_eq!(madt_of(&memory_with(rsdp(2, 0, 0x2000 + at), tables)), (Some(0x4000 + at), vec![]));
    }
}

#[test]
fn of_several_madts_the_one_with_the_most_cpus_counts_and_of_others_the_first() {
    let mut broken = madt(9);
    broken[44] ^= 1;
    let tables = vec![
        (0x2000, xsdt(&[0x4000, 0x5000, 0x6000, 0x7000, 0x8000, 0x9000])),
        (0x4000, broken),
        (0x5000, madt(2)),
        (0x6000, madt(4)),
        (0x7000, madt(3)),
        (0x8000, table(b"FACP", &[1])),
        (0x9000, table(b"FACP", &[2])),
    ];
    let memory = memory_with(rsdp(2, 0, 0x2000), tables);
    let (found, reported) = find_in(&memory);
    let found = found.unwrap();
    assert_eq!((found.madt.unwrap().address, found.fadt.unwrap().address), (0x6000, 0x8000));
    let expected = [
        "MADT at 0x4000: the checksum is wrong: not used",
        "MADT at 0x6000: one of 3 MADTs: using the one with the most usable CPUs",
    ];
    assert_eq!(reported, expected);
}

#[test]
fn a_list_of_nothing_is_one_line_and_what_it_leads_to_is_bounded() {
    let bogus = (0..100_000u64).map(|at| 0x4000_0000 + 4096 * at).chain([0x4000]).collect::<Vec<_>>();
    let (found, reported) = madt_of(&memory_with(
        rsdp(2, 0, 0x2000),
        vec![(0x2000, xsdt(&bogus)), (0x40_0000, madt(1)), (0x4000, madt(1))],
    ));
    assert_eq!(found, Some(0x4000));
    assert_eq!(
        reported,
        [
            "XSDT at 0x2000, offset 36: names a table at 0x40000000: not in memory: not used, nor are 99999 more"
        ]
    );
    // The same invalid table of 1 MiB, 130,000 times: it is summed up 32 times, and reported four times.
    let mut large = table(b"APIC", &vec![0; (1 << 20) - 36]);
    large[99] = 1;
    let list = xsdt(&vec![0x50_0000; 130_000]);
    let memory = memory_with(rsdp(2, 0, 0x20_0000), vec![(0x20_0000, list), (0x50_0000, large)]);
    let (found, reported) = find_in(&memory);
    assert!(found.unwrap().madt.is_none());
    assert_eq!(reported.len(), 5, "{reported:#?}");
    assert!(reported[4].contains("129996 more invalid tables"), "{reported:#?}");
}

#[test]
fn a_list_that_ends_within_an_entry_is_read_up_to_there() {
    let mut list = [&xsdt(&[0x4000])[..], &[1, 2, 3]].concat();
    list[4] += 3;
    set_checksum(&mut list, 9);
    let (found, reported) =
        madt_of(&memory_with(rsdp(2, 0, 0x2000), vec![(0x2000, list), (0x4000, madt(1))]));
    assert_eq!(found, Some(0x4000));
    assert_eq!(reported, ["XSDT at 0x2000, offset 44: ends within an entry, after 3 bytes of 8"]);
}
