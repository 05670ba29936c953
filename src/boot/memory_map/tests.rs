//! The map's edge cases, by name. What holds for every map is in `model`.

use super::*;

mod model;

const fn raw(base: u64, len: u64, kind: RegionKind) -> RawEntry {
    RawEntry { base, len, kind }
}

const fn usable(base: u64, len: u64) -> RawEntry {
    raw(base, len, RegionKind::Usable)
}

const fn reserved(base: u64, len: u64) -> RawEntry {
    raw(base, len, RegionKind::Reserved)
}

fn map_of(entries: &[RawEntry]) -> (MemoryMap, MapReport) {
    MemoryMap::from_entries(entries.iter().copied())
}

fn usable_ranges<const N: usize>(map: &RegionMap<N>) -> Vec<(u64, u64)> {
    map.usable().map(|range| (range.start, range.end)).collect()
}

#[track_caller]
fn assert_well_formed<const N: usize>(map: &RegionMap<N>) {
    assert!(map.regions().len() <= N - 2);
    for region in map.regions() {
        assert!(!region.range.is_empty(), "{region:?}");
        assert!(region.range.end <= PHYSICAL_LIMIT, "{region:?}");
    }
    for pair in map.regions().windows(2) {
        assert!(pair[0].range.end <= pair[1].range.start, "{pair:?} overlap");
        let touch = pair[0].range.end == pair[1].range.start;
        assert!(!touch || pair[0].owner != pair[1].owner, "{pair:?} are not merged");
    }
}

#[test]
fn e820_numbers() {
    use RegionKind::*;
    let kinds =
        [Reserved, Usable, Reserved, AcpiReclaimable, AcpiNvs, Unusable, Unusable, Persistent, Reserved];
    for (number, kind) in kinds.into_iter().enumerate() {
        assert_eq!(RegionKind::from_e820(number as u32), kind, "type {number}");
    }
    assert_eq!(RegionKind::from_e820(u32::MAX), Reserved);
}

#[test]
fn a_plain_pc_map_is_clean() {
    let entries = [
        usable(0, 0x9fc00),
        reserved(0x9fc00, 0x400),
        reserved(0xf0000, 0x10000),
        usable(0x10_0000, 0x7ee_0000),
        raw(0x7fe_0000, 0x2_0000, RegionKind::AcpiReclaimable),
    ];
    let (map, report) = map_of(&entries);
    assert!(report.is_clean(), "{report}");
    assert_eq!(map.regions().len(), 5);
    assert_eq!(map.usable_frame_count(), 0x9f + 0x7ee0);
    assert_eq!(map.highest_usable(), Some(0x7fe_0000));
    assert_eq!(map.highest_address(), Some(0x800_0000));
}

#[test]
fn an_empty_table_is_an_empty_map() {
    let (map, report) = map_of(&[]);
    assert!(report.is_clean());
    assert!(map.regions().is_empty());
    assert_eq!((map.highest_usable(), map.highest_address(), map.usable_frame_count()), (None, None, 0));
    assert_eq!(map.find_usable_below(u64::MAX, 1, 1), None);
}

#[test]
fn zero_length_entries_are_skipped_and_counted() {
    let (map, report) = map_of(&[usable(0x1000, 0), usable(0x2000, 0x1000), reserved(u64::MAX, 0)]);
    assert_eq!(usable_ranges(&map), [(0x2000, 0x3000)]);
    assert_eq!(report.zero_length, 2);
}

#[test]
fn unsorted_entries_are_sorted() {
    let (map, report) = map_of(&[usable(0x8000, 0x1000), usable(0x1000, 0x1000), usable(0x4000, 0x1000)]);
    assert_eq!(usable_ranges(&map), [(0x1000, 0x2000), (0x4000, 0x5000), (0x8000, 0x9000)]);
    assert_eq!(report.unsorted, 1);
    assert_well_formed(&map);
}

#[test]
fn adjacent_entries_of_the_same_kind_are_merged() {
    let (map, report) = map_of(&[usable(0, 0x1000), usable(0x2000, 0x1000), usable(0x1000, 0x1000)]);
    assert_eq!(usable_ranges(&map), [(0, 0x3000)]);
    assert_eq!(report.overlapping, 0);
}

#[test]
fn reserved_beats_usable_in_either_order() {
    for entries in
        [[usable(0, 0x10000), reserved(0x4800, 0x100)], [reserved(0x4800, 0x100), usable(0, 0x10000)]]
    {
        let (map, report) = map_of(&entries);
        assert_eq!(usable_ranges(&map), [(0, 0x4800), (0x4900, 0x10000)]);
        assert_eq!(map.usable_frames().collect::<Vec<_>>(), [0..4, 5..16]);
        assert_eq!(report.overlapping, 1);
    }
}

#[test]
fn the_more_restrictive_of_two_reserved_kinds_wins() {
    let nvs = raw(0, 0x4000, RegionKind::AcpiNvs);
    let bad = raw(0x2000, 0x4000, RegionKind::Unusable);
    for entries in [[nvs, bad], [bad, nvs]] {
        let (map, _) = map_of(&entries);
        let owners: Vec<_> = map.regions().iter().map(|r| (r.range.start, r.range.end, r.owner)).collect();
        let expected = [
            (0, 0x2000, Owner::Firmware(RegionKind::AcpiNvs)),
            (0x2000, 0x6000, Owner::Firmware(RegionKind::Unusable)),
        ];
        assert_eq!(owners, expected);
    }
}

#[test]
fn a_wrapping_entry_is_truncated_at_the_limit() {
    let (map, report) = map_of(&[reserved(0xffff_f000, u64::MAX)]);
    assert_eq!(map.highest_address(), Some(PHYSICAL_LIMIT));
    assert_eq!((report.wrapping, report.clamped), (1, 0));
}

#[test]
fn an_entry_that_ends_at_2_to_the_64_does_not_wrap() {
    let (_, report) = map_of(&[reserved(0x1000, u64::MAX - 0xfff)]);
    assert_eq!((report.wrapping, report.clamped), (0, 1));
}

#[test]
fn an_entry_at_the_52_bit_limit() {
    let (map, report) = map_of(&[
        usable(PHYSICAL_LIMIT - 0x2000, 0x2000),
        usable(PHYSICAL_LIMIT, 0x1000),
        usable(u64::MAX, u64::MAX),
    ]);
    assert_eq!(usable_ranges(&map), [(PHYSICAL_LIMIT - 0x2000, PHYSICAL_LIMIT)]);
    assert_eq!((report.clamped, report.out_of_range), (0, 2));
    let (map, report) = map_of(&[usable(PHYSICAL_LIMIT - 0x2000, 0x2001)]);
    assert_eq!(usable_ranges(&map), [(PHYSICAL_LIMIT - 0x2000, PHYSICAL_LIMIT)]);
    assert_eq!(report.clamped, 1);
}

#[test]
fn a_partly_reserved_frame_is_not_usable() {
    let (map, _) = map_of(&[usable(0x1001, 0x1fff), usable(0x5000, 0xfff), usable(0x8000, 0x1000)]);
    assert_eq!(map.usable_frames().collect::<Vec<_>>(), [2..3, 8..9]);
    assert_eq!(map.usable_frame_count(), 2);
}

#[test]
fn a_range_smaller_than_a_frame_has_no_frame() {
    for (start, end) in
        [(0x1001, 0x1fff), (0x1800, 0x2800), (0x1000, 0x1000), (0x1001, 0x1001), (0x5000, 0x1000)]
    {
        let frames = PhysRange::new(start, end).whole_frames();
        assert!(frames.start == frames.end, "{frames:?}");
    }
}

#[test]
fn a_frame_in_two_adjacent_entries_is_usable() {
    let (map, _) = map_of(&[usable(0x1000, 0x800), usable(0x1800, 0x800)]);
    assert_eq!(map.usable_frame_count(), 1);
}

#[test]
fn reserve_rounds_outward_and_keeps_the_first_reason() {
    let (mut map, _) = map_of(&[usable(0, 0x10000), reserved(0x8000, 0x1000)]);
    assert_eq!(map.reserve(PhysRange::new(0, 1), ReservedReason::FirstPage), Truncated::default());
    assert_eq!(map.reserve(PhysRange::new(0x800, 0x2001), ReservedReason::Kernel), Truncated::default());
    assert_eq!(map.reserve(PhysRange::new(0x7fff, 0x9001), ReservedReason::Trampoline), Truncated::default());
    let table: Vec<_> = map.reserved().map(|r| (r.range.start, r.range.end, r.owner)).collect();
    let expected = [
        (0, 0x1000, Owner::Kernel(ReservedReason::FirstPage)),
        (0x1000, 0x3000, Owner::Kernel(ReservedReason::Kernel)),
        (0x7000, 0x8000, Owner::Kernel(ReservedReason::Trampoline)),
        (0x8000, 0x9000, Owner::Firmware(RegionKind::Reserved)),
        (0x9000, 0xa000, Owner::Kernel(ReservedReason::Trampoline)),
    ];
    assert_eq!(table, expected);
    assert_well_formed(&map);
}

#[test]
fn reserve_of_nothing_or_of_a_hole_changes_nothing() {
    let (mut map, _) = map_of(&[usable(0x4000, 0x1000)]);
    for (start, end) in
        [(0x4800, 0x4800), (0x5000, 0x4000), (0, 0x4000), (0x5000, u64::MAX), (u64::MAX, u64::MAX)]
    {
        assert_eq!(map.reserve(PhysRange::new(start, end), ReservedReason::Kernel), Truncated::default());
    }
    assert_eq!(usable_ranges(&map), [(0x4000, 0x5000)]);
}

#[test]
fn find_usable_below_returns_the_highest_range() {
    let (map, _) = map_of(&[usable(0x1000, 0x3000), usable(0x8000, 0x1800), usable(0x10_0000, 0x10_0000)]);
    let find = |limit, size, align| map.find_usable_below(limit, size, align).map(|range| range.start);
    assert_eq!(find(u64::MAX, 0x1000, 0x1000), Some(0x1f_f000));
    assert_eq!(find(0x10_0000, 0x1000, 0x1000), Some(0x8000));
    assert_eq!(find(0x10_0000, 0x2000, 0x1000), Some(0x2000));
    assert_eq!(find(0x3800, 0x1000, 0x1000), Some(0x2000));
    assert_eq!(find(0x10_0000, 0x4000, 1), None);
    assert_eq!(find(u64::MAX, 0x1000, 0x40_0000), None);
    assert_eq!(find(u64::MAX, 0x1000, 3), None);
    assert_eq!(find(u64::MAX, 0, 1), None);
    assert_eq!(find(0xfff, 0x1000, 1), None);
}

#[test]
fn contains_usable_checks_every_byte() {
    let (map, _) = map_of(&[usable(0x1000, 0x1000), reserved(0x2000, 0x1000), usable(0x3000, 0x1000)]);
    let contains = |start, end| map.contains_usable(PhysRange::new(start, end));
    assert!(contains(0x1000, 0x2000));
    assert!(contains(0x1fff, 0x2000));
    assert!(!contains(0x1000, 0x2001));
    assert!(!contains(0xfff, 0x2000));
    assert!(!contains(0x1800, 0x3800));
    assert!(!contains(0x1800, 0x1800));
    assert!(!contains(0x1800, 0x1000));
}

#[test]
fn a_full_map_drops_reserved_regions_first() {
    // Six slots hold four regions.
    let apart = (0..8).map(|i| reserved(i * 0x10000 + 0x8000, 0x1000)).chain([usable(0, 0x1000)]);
    let (map, report) = RegionMap::<6>::from_entries(apart);
    assert_eq!(usable_ranges(&map), [(0, 0x1000)]);
    assert_eq!(report.truncated, Truncated { regions: 5, usable_bytes: 0 });
    assert_well_formed(&map);
}

#[test]
fn a_full_map_without_reserved_regions_drops_the_smallest_usable_region() {
    let sizes = [0x3000, 0x1000, 0x5000, 0x2000, 0x4000, 0x6000];
    let entries = sizes.iter().enumerate().map(|(i, size)| usable(i as u64 * 0x10000, *size));
    let (map, report) = RegionMap::<6>::from_entries(entries);
    let kept: Vec<u64> = map.usable().map(PhysRange::len).collect();
    assert_eq!(kept, [0x3000, 0x5000, 0x4000, 0x6000]);
    assert_eq!(report.truncated, Truncated { regions: 0, usable_bytes: 0x3000 });
}

#[test]
fn a_dropped_reserved_region_does_not_become_usable() {
    // The reserved entries are dropped. They lie inside a usable one and must not become usable.
    let holes = (1..20).map(|i| reserved(i * 0x10000, 0x1000));
    let (map, _) = RegionMap::<6>::from_entries(holes.clone().chain([usable(0, 0x20_0000)]));
    for hole in holes {
        assert!(map.usable().all(|range| range.end <= hole.base || hole.base + hole.len <= range.start));
    }
    assert_well_formed(&map);
}

#[test]
fn reserve_on_a_full_map_still_reserves() {
    let entries = (0..4).map(|i| usable(i * 0x10000, 0x4000));
    let (mut map, report) = RegionMap::<6>::from_entries(entries);
    assert!(report.is_clean());
    let dropped = map.reserve(PhysRange::new(0x1000, 0x2000), ReservedReason::Kernel);
    assert!(!map.contains_usable(PhysRange::new(0x1000, 0x1001)));
    // A split needs two more entries: the new region is dropped, then the page before it.
    assert_eq!(dropped, Truncated { regions: 1, usable_bytes: 0x1000 });
    assert_well_formed(&map);
}

#[test]
fn a_report_lists_the_corrections() {
    let (_, report) = map_of(&[usable(0x9000, 0x1000), usable(0x1000, 0), reserved(0x2000, u64::MAX)]);
    let expected = "3 entries, 1 empty, 1 out of order, 1 overlapping, 1 wrapping past 2^64";
    assert_eq!(report.to_string(), expected);
    assert_eq!(PhysRange::new(0x1000, 0x9fc00).to_string(), "0x000000001000..0x00000009fc00");
    assert_eq!(format!("{:<16}|", Owner::USABLE), "usable          |");
}
