//! From the loader's map to the allocator no frame is lost and none counts twice: every frame that the loader calls usable
//! belongs to the allocator, or to a region that names its use. In the order of `memory::init`.

use std::collections::BTreeSet;
use std::vec::Vec;

use proptest::prelude::*;

use super::World;
use crate::boot::memory_map::{
    FRAME_BYTES, MemoryMap, Owner, PhysRange, RawEntry, RegionKind, ReservedReason,
};
use crate::memory::cache::Magazine;
use crate::memory::early_frames::EarlyFrames;
use crate::memory::frames::{FRAMES_PER_BLOCK, FrameNumber, Frames};

const BLOCKS: usize = 16;
const END: u64 = (BLOCKS * FRAMES_PER_BLOCK) as u64 * FRAME_BYTES;

/// An entry of the loader's: mostly RAM, seldom on a page's border.
fn entry() -> impl Strategy<Value = RawEntry> {
    let kind = prop_oneof![4 => Just(1u32), 1 => 2..8u32].prop_map(RegionKind::from_e820);
    let base = prop_oneof![0..END, (0..END / FRAME_BYTES).prop_map(|frame| frame * FRAME_BYTES)];
    (base, 1..END / 2, kind).prop_map(|(base, len, kind)| RawEntry { base, len: len.min(END - base), kind })
}

fn frames(ranges: impl Iterator<Item = PhysRange>) -> Vec<u64> {
    ranges.flat_map(PhysRange::whole_frames).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(250) })]

    #[test]
    fn every_usable_frame_is_accounted_for(
        entries in prop::collection::vec(entry(), 1..5),
        image in (0..END / FRAME_BYTES, 1..300u64),
        early_frames in 0..700usize,
        limit in END / 4..END + END / 4,
        metadata_frames in 1..40u64,
    ) {
        let (mut map, report) = MemoryMap::from_entries(entries);
        prop_assert_eq!(report.truncated.usable_bytes, 0);
        let loaders: BTreeSet<u64> = map.usable_frames().flatten().collect();

        let take = |map: &mut MemoryMap, range: Option<PhysRange>, reason| {
            range.is_none_or(|range| map.reserve(range, reason).usable_bytes == 0)
        };
        let image = PhysRange::new(image.0 * FRAME_BYTES, (image.0 + image.1) * FRAME_BYTES);
        let mut fitted = take(&mut map, Some(PhysRange::new(0, FRAME_BYTES)), ReservedReason::FirstPage);
        fitted &= take(&mut map, Some(image), ReservedReason::Kernel);
        let page = map.find_usable_below(limit, FRAME_BYTES, FRAME_BYTES);
        fitted &= take(&mut map, page, ReservedReason::Trampoline);

        let mut taken_early = Vec::new();
        if let Some(mut early) = EarlyFrames::new(&map, limit) {
            taken_early.extend(core::iter::from_fn(|| early.alloc()).take(early_frames));
            early.finish(&mut map);
        }
        let metadata = map.find_usable_below(END, metadata_frames * FRAME_BYTES, FRAME_BYTES);
        fitted &= take(&mut map, metadata, ReservedReason::FrameTables);
        prop_assert!(fitted);

        // Frames that were allocated early were the loader's, each once, and the map has them.
        let reserved = |wanted: fn(ReservedReason) -> bool| {
            let of_kernel = move |owner| matches!(owner, Owner::Kernel(reason) if wanted(reason));
            let regions = map.regions().iter().filter(move |region| of_kernel(region.owner));
            frames(regions.map(|region| region.range))
        };
        let early: BTreeSet<u64> = taken_early.iter().map(|address| address / FRAME_BYTES).collect();
        prop_assert_eq!(early.len(), taken_early.len());
        prop_assert!(taken_early.iter().all(|address| *address < limit));
        let noted: BTreeSet<u64> = reserved(|reason| reason == ReservedReason::EarlyTables).into_iter().collect();
        prop_assert_eq!(&noted, &early);

        // The allocator's memory and the reserved memory together are the loader's, without an overlap.
        let runs = || map.usable_frames().map(|run| run.start as usize..run.end as usize);
        let numbers = runs().map(|run| FrameNumber::new(run.start)..FrameNumber::new(run.end));
        let world = World::with_edges(BLOCKS, Frames::partial_blocks(numbers));
        for run in runs() {
            world.insert(run).expect("room for every edge");
        }
        prop_assert_eq!(world.frames.total_frames() as u64, map.usable_frame_count());
        let everything = world.take_everything(&Magazine::new());
        let allocators: BTreeSet<u64> = everything.iter().map(|frame| world.index(*frame) as u64).collect();
        prop_assert_eq!(allocators.len(), everything.len());
        // A page that was usable in part may be reserved as a whole; it was never available.
        let kept: BTreeSet<u64> =
            reserved(|_| true).into_iter().filter(|frame| loaders.contains(frame)).collect();
        prop_assert!(allocators.is_disjoint(&kept));
        prop_assert_eq!(&allocators | &kept, loaders);
    }
}
