//! The map against a naive model that keeps one owner for each unit of a small address space.

use proptest::prelude::*;

use super::*;

/// The model's grain in bytes, finer than a frame so that regions begin and end inside frames.
const UNIT: u64 = 256;
/// The model's size: 64 frames of 16 units.
const UNITS: usize = 64 * 16;

type Model = Vec<Option<Owner>>;

fn model_of(entries: &[RawEntry]) -> Model {
    let mut model = vec![None; UNITS];
    for entry in entries {
        let first = (entry.base / UNIT) as usize;
        for unit in &mut model[first..first + (entry.len / UNIT) as usize] {
            let kind = match *unit {
                Some(Owner::Firmware(old)) => old.max(entry.kind),
                _ => entry.kind,
            };
            *unit = Some(Owner::Firmware(kind));
        }
    }
    model
}

fn owner_at<const N: usize>(map: &RegionMap<N>, address: u64) -> Option<Owner> {
    let hit = map.regions().iter().find(|r| r.range.start <= address && address < r.range.end);
    hit.map(|region| region.owner)
}

fn any_entry() -> impl Strategy<Value = RawEntry> {
    (0..UNITS as u64, 0..200u64, 1..9u32).prop_map(|(base, len, number)| {
        let len = len.min(UNITS as u64 - base);
        raw(base * UNIT, len * UNIT, RegionKind::from_e820(if number > 7 { 1 } else { number }))
    })
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn agrees_with_the_model(
        entries in prop::collection::vec(any_entry(), 0..24),
        reservations in prop::collection::vec((0..UNITS as u64, 1..40u64), 0..6),
    ) {
        let (mut map, report) = map_of(&entries);
        let mut model = model_of(&entries);
        prop_assert_eq!(report.truncated, Truncated::default());
        for (start, len) in reservations {
            let range = PhysRange::new(start * UNIT, (start + len) * UNIT);
            prop_assert_eq!(map.reserve(range, ReservedReason::Kernel), Truncated::default());
            let last = ((start + len).div_ceil(16) * 16).min(UNITS as u64);
            for unit in &mut model[(start / 16 * 16) as usize..last as usize] {
                if *unit == Some(Owner::USABLE) {
                    *unit = Some(Owner::Kernel(ReservedReason::Kernel));
                }
            }
        }
        assert_well_formed(&map);
        for (unit, owner) in model.iter().enumerate() {
            prop_assert_eq!(owner_at(&map, unit as u64 * UNIT), *owner, "unit {}", unit);
            prop_assert_eq!(owner_at(&map, unit as u64 * UNIT + UNIT - 1), *owner, "unit {}", unit);
        }
        let frames: Vec<u64> = map.usable_frames().flatten().collect();
        let expected: Vec<u64> = (0..64u64)
            .filter(|frame| model[*frame as usize * 16..][..16].iter().all(|unit| *unit == Some(Owner::USABLE)))
            .collect();
        prop_assert_eq!(frames.len() as u64, map.usable_frame_count());
        prop_assert_eq!(frames, expected);
    }

    #[test]
    fn find_agrees_with_the_model(
        entries in prop::collection::vec(any_entry(), 0..12),
        limit in 0..UNITS as u64,
        size in 1..64u64,
        align in 0..6u32,
    ) {
        let (map, _) = map_of(&entries);
        let model = model_of(&entries);
        let expected = (0..UNITS as u64).rev().find(|start| {
            start % (1 << align) == 0
                && start + size <= limit
                && model[*start as usize..(start + size) as usize].iter().all(|unit| *unit == Some(Owner::USABLE))
        });
        let found = map.find_usable_below(limit * UNIT, size * UNIT, UNIT << align);
        prop_assert_eq!(found.map(|range| range.start / UNIT), expected);
        prop_assert!(found.is_none_or(|range| range.len() == size * UNIT && map.contains_usable(range)));
    }

    /// A map that is too small is safe: nothing is usable that should not be, and what is missing was reported.
    #[test]
    fn too_small_a_map_is_safe(entries in prop::collection::vec(any_entry(), 0..60), from in 0..UNITS as u64) {
        let (mut map, report) = RegionMap::<8>::from_entries(entries.iter().copied());
        let mut model = model_of(&entries);
        let dropped = map.reserve(PhysRange::new(from * UNIT, (from + 8) * UNIT), ReservedReason::Kernel);
        for unit in (from / 16 * 16)..((from + 8).div_ceil(16) * 16).min(UNITS as u64) {
            if model[unit as usize] == Some(Owner::USABLE) {
                model[unit as usize] = None;
            }
        }
        assert_well_formed(&map);
        let mut missing = 0;
        for (unit, owner) in model.iter().enumerate() {
            let found = owner_at(&map, unit as u64 * UNIT);
            if found == Some(Owner::USABLE) {
                prop_assert_eq!(*owner, Some(Owner::USABLE), "unit {}", unit);
            } else if *owner == Some(Owner::USABLE) {
                missing += UNIT;
            }
        }
        prop_assert!(missing <= report.truncated.usable_bytes + dropped.usable_bytes);
    }

    /// No entry causes a panic or a region above the limit.
    #[test]
    fn absurd_entries_are_survived(entries in prop::collection::vec((any::<u64>(), any::<u64>(), 0..9u32), 0..400)) {
        let entries = entries.iter().map(|(base, len, kind)| raw(*base, *len, RegionKind::from_e820(*kind)));
        let (map, _) = MemoryMap::from_entries(entries);
        assert_well_formed(&map);
    }
}
