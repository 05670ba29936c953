//! CPU lists of real firmware, and invalid ones.

use proptest::prelude::*;

use super::*;
use crate::acpi::madt::tests::table;

const ON: u32 = 1;
const OFF: u32 = 0;
const PLUGGABLE: u32 = 2;

fn xapic(id: u8, flags: u32) -> Vec<u8> {
    let mut bytes = vec![0, 8, id.wrapping_add(100), id];
    bytes.extend(flags.to_le_bytes());
    bytes
}

fn x2apic(id: u32, flags: u32) -> Vec<u8> {
    let mut bytes = vec![9, 16, 0, 0];
    for word in [id, flags, id.wrapping_add(1000)] {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

/// The CPU list of a table with room for `room` CPUs, and the APIC IDs in it.
fn cpu_list(entries: &[Vec<u8>], bsp: u32, room: usize) -> (CpuList, Vec<u32>) {
    let bytes = table(&entries.concat());
    let madt = Madt::parse(&bytes).unwrap();
    let mut slots = vec![CpuEntry::EMPTY; room];
    let mut words = vec![0; IdIndex::words_for(room)];
    let cpu_list = CpuList::fill(&madt, ApicId(bsp), &mut slots, &mut IdIndex::new(&mut words, 7));
    let (used, unused) = slots.split_at(cpu_list.cpus as usize);
    assert!(unused.iter().all(|slot| *slot == CpuEntry::EMPTY));
    for (index, entry) in used.iter().enumerate() {
        assert_eq!(entry.cpu.index(), index);
    }
    assert!(room < count_usable(&madt) || cpu_list.left_out == 0);
    (cpu_list, used.iter().map(|entry| entry.apic_id.0).collect())
}

#[test]
fn sparse_ids_become_dense_numbers_in_the_tables_order() {
    let entries = [0, 1, 2, 4, 5, 6].map(|id| xapic(id, ON));
    let (report, ids) = cpu_list(&entries, 0, 7);
    assert_eq!(ids, [0, 1, 2, 4, 5, 6]);
    assert_eq!(report, CpuList { cpus: 6, bsp_listed: true, lists_any: true, ..CpuList::default() });
    assert_eq!(report.to_string(), "6 usable CPUs");
}

#[test]
fn the_bsp_is_first_wherever_it_is_listed() {
    let (_, ids) = cpu_list(&[9, 3, 7, 5].map(|id| xapic(id, ON)), 7, 5);
    assert_eq!(ids, [7, 9, 3, 5]);
}

#[test]
fn uids_go_with_their_cpus() {
    let bytes = table(&[xapic(1, ON), x2apic(300, ON), xapic(0, ON)].concat());
    let mut slots = [CpuEntry::EMPTY; 4];
    let mut words = [0; 8];
    CpuList::fill(&Madt::parse(&bytes).unwrap(), ApicId(0), &mut slots, &mut IdIndex::new(&mut words, 7));
    assert_eq!(
        slots[..3].iter().map(|slot| slot.uid).collect::<Vec<_>>(),
        [Some(100), Some(101), Some(1300)]
    );
}

#[test]
fn disabled_cpus_are_counted_not_listed() {
    let entries = [xapic(0, ON), xapic(1, OFF), xapic(2, PLUGGABLE), x2apic(3, PLUGGABLE), xapic(0xff, OFF)];
    let (report, ids) = cpu_list(&entries, 0, 2);
    assert_eq!(ids, [0]);
    assert_eq!((report.disabled, report.hot_pluggable, report.broadcast_ids), (2, 2, 0));
    assert_eq!(report.to_string(), "1 usable CPU, 2 absent but pluggable, 2 disabled");
}

#[test]
fn online_capable_is_ignored_if_enabled() {
    let (report, ids) = cpu_list(&[xapic(0, ON), xapic(1, ON | PLUGGABLE)], 0, 3);
    assert_eq!((ids, report.hot_pluggable), (vec![0, 1], 0));
}

#[test]
fn duplicates_are_dropped_across_both_types() {
    let entries = [
        xapic(0, ON),
        xapic(2, ON),
        xapic(1, ON),
        x2apic(0, ON),
        x2apic(2, ON),
        x2apic(300, ON),
        xapic(1, ON),
        x2apic(300, ON),
    ];
    let (report, ids) = cpu_list(&entries, 0, 9);
    assert_eq!(ids, [0, 2, 1, 300]);
    assert_eq!((report.duplicates, report.beyond_xapic), (4, 1));
}

#[test]
fn a_disabled_twin_does_not_hide_an_enabled_one() {
    let (report, ids) = cpu_list(&[xapic(0, ON), xapic(1, OFF), x2apic(1, ON)], 0, 3);
    assert_eq!((ids, report.disabled, report.duplicates), (vec![0, 1], 1, 0));
}

#[test]
fn broadcast_ids_are_no_cpus() {
    let (report, ids) =
        cpu_list(&[xapic(0, ON), xapic(0xff, ON), x2apic(u32::MAX, ON), x2apic(0xff, ON)], 0, 3);
    assert_eq!(ids, [0, 0xff]);
    assert_eq!((report.broadcast_ids, report.beyond_xapic), (2, 1));
}

#[test]
fn an_unlisted_bsp_is_added() {
    for entries in [vec![xapic(1, ON), xapic(2, ON)], vec![xapic(0, OFF), xapic(1, ON), xapic(2, ON)]] {
        let (report, ids) = cpu_list(&entries, 0, 3);
        assert_eq!(ids, [0, 1, 2]);
        assert!(!report.bsp_listed);
        // It would represent a missing CPU.
        assert_eq!(report.disabled, 0);
        assert!(report.to_string().ends_with("BSP not listed"));
    }
}

#[test]
fn a_bsp_beyond_xapic_is_counted() {
    let (report, ids) = cpu_list(&[x2apic(0xff, ON), x2apic(254, ON), x2apic(300, ON)], 300, 4);
    assert_eq!((ids, report.beyond_xapic), (vec![300, 0xff, 254], 2));
}

#[test]
fn count_usable_includes_an_unlisted_bsp() {
    let entries = [xapic(0, ON), x2apic(0, ON), xapic(1, OFF), xapic(0xff, ON), xapic(2, ON), vec![0, 2]];
    let bytes = table(&entries.concat());
    assert_eq!(count_usable(&Madt::parse(&bytes).unwrap()), 4);
}

#[test]
fn cpus_beyond_the_limit_are_counted() {
    let entries: Vec<_> = (0..8).map(|id| xapic(id, ON)).collect();
    let (report, ids) = cpu_list(&entries, 5, 3);
    assert_eq!((ids, report.left_out), (vec![5, 0, 1], 5));
    let (report, ids) = cpu_list(&entries, 5, 1);
    assert_eq!((ids, report.left_out), (vec![5], 7));
    let (report, ids) = cpu_list(&entries, 5, 0);
    assert_eq!((ids, report.cpus), (vec![], 0));
}

#[test]
fn invalid_entries_are_reported_and_the_rest_is_listed() {
    let entries = [xapic(0, ON), vec![9, 8, 0, 0, 1, 0, 0, 0], xapic(1, ON), vec![0, 0], xapic(2, ON)];
    let (report, ids) = cpu_list(&entries, 0, 4);
    assert_eq!((ids, report.broken), (vec![0, 1], 2));
    assert_eq!(report.to_string(), "2 usable CPUs, 2 invalid table entries");
    assert_eq!(report.hiding.unwrap().offset, 52);
}

#[test]
fn a_descending_list_of_4096_cpus_is_taken_in_its_order() {
    let entries: Vec<_> = (0..4096).rev().map(|id| x2apic(id, ON)).collect();
    let (report, ids) = cpu_list(&entries, 0, 4097);
    assert_eq!((report.cpus, report.duplicates, ids[1], ids[4095]), (4096, 0, 4095, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn agrees_with_the_model(
        cpus in prop::collection::vec((any::<bool>(), 0..20u32, 0..4u32), 0..40),
        bsp in 0..20u32,
        missing_room in 0..30usize,
    ) {
        let id_of = |(wide, id, _): (bool, u32, u32)| match id {
            19 if wide => u32::MAX,
            19 => 0xff,
            18 if wide => 0x1000,
            id => id,
        };
        let entries: Vec<_> = cpus
            .iter()
            .map(|cpu| if cpu.0 { x2apic(id_of(*cpu), cpu.2) } else { xapic(id_of(*cpu) as u8, cpu.2) })
            .collect();
        let mut expected = vec![bsp];
        for cpu in &cpus {
            let id = id_of(*cpu);
            if cpu.2 & 1 == 1 && cpu.1 != 19 && !expected.contains(&id) {
                expected.push(id);
            }
        }
        let (report, ids) = cpu_list(&entries, bsp, 41);
        prop_assert_eq!(&ids, &expected);
        let accounted = report.cpus + report.disabled + report.hot_pluggable + report.duplicates + report.broadcast_ids;
        let off = cpus.iter().filter(|cpu| cpu.2 & 1 == 0 && id_of(**cpu) == bsp).count();
        prop_assert_eq!(accounted as usize + off, cpus.len() + usize::from(!report.bsp_listed));

        let room = 41 - missing_room;
        let (capped, ids) = cpu_list(&entries, bsp, room);
        prop_assert_eq!(&ids[..], &expected[..room.min(expected.len())]);
        prop_assert_eq!(capped.left_out > 0, room < expected.len());
    }
}
