//! Invariants of the kernel's memory map for any input of a loader.

use octopod::boot::memory_map::{MemoryMap, Owner, PhysRange, RawEntry, ReservedReason};

/// Fills a map, takes a range away, and checks that it is sorted, disjoint, and no larger than what was said.
pub fn check(entries: impl Iterator<Item = RawEntry> + Clone) {
    let (mut map, _) = MemoryMap::from_entries(entries.clone());
    sound(&map);
    let before = map.usable_frame_count();
    let taken = PhysRange::new(0x10_0000, 0x18_3456);
    let _ = map.reserve(taken, ReservedReason::Kernel);
    sound(&map);
    assert!(map.usable_frame_count() <= before);
    assert!(!map.contains_usable(PhysRange::new(taken.start, taken.start + 1)));
}

fn sound(map: &MemoryMap) {
    for pair in map.regions().windows(2) {
        assert!(pair[0].range.end <= pair[1].range.start);
        assert!(pair[0].range.end < pair[1].range.start || pair[0].owner != pair[1].owner);
    }
    assert!(map.regions().iter().all(|region| !region.range.is_empty()));
    let usable = Owner::Firmware(octopod::boot::memory_map::RegionKind::Usable);
    assert_eq!(map.usable().count(), map.regions().iter().filter(|region| region.owner == usable).count());
}
