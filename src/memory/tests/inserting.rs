//! Inserted memory: edges, holes, single frames, overlaps, and the limits.

use super::{World, order};
use crate::memory::cache::Magazine;
use crate::memory::frames::{FRAMES_PER_BLOCK, InsertError, Order};
use std::collections::BTreeSet;
use std::vec::Vec;

/// Takes everything, checks that it is just these indices, and gives it back.
fn assert_holds(world: &World, expected: impl IntoIterator<Item = usize>) {
    let before = world.frames.free_by_order();
    let magazine = Magazine::new();
    let taken = world.take_everything(&magazine);
    let indices: BTreeSet<usize> = taken.iter().map(|&frame| world.index(frame)).collect();
    assert_eq!(indices.len(), taken.len(), "a frame came twice");
    assert_eq!(indices, expected.into_iter().collect());
    assert_eq!(world.frames.validate(), Ok(()));
    assert_eq!(world.frames.free_frames(), 0);
    assert_eq!(world.frames.free_bulk(&magazine, &taken), Ok(()));
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    world.assert_as_before(before);
}

#[test]
fn whole_blocks_and_edges() {
    let world = World::empty(6);
    assert_eq!(world.insert(100..100), Ok(0));
    assert_eq!(world.insert(100..6 * 512 - 37), Ok(6 * 512 - 137));
    assert_eq!(world.frames.total_frames(), 6 * 512 - 137);
    assert_eq!(world.frames.free_frames(), 6 * 512 - 137);
    let by_order = world.frames.free_by_order();
    // Blocks 1 to 4 whole: 1, 2–3, 4.
    assert_eq!((by_order[9], by_order[10], by_order[11]), (1024, 1024, 0));
    assert_holds(&world, 100..6 * 512 - 37);
}

#[test]
fn holes_inside_blocks_are_never_allocated() {
    let world = World::empty(3);
    for range in [10..20, 25..26, 64..128, 500..530, 700..1200] {
        assert_eq!(world.insert(range.clone()), Ok(range.len()));
        assert_eq!(world.frames.validate(), Ok(()));
    }
    assert_holds(&world, (10..20).chain(25..26).chain(64..128).chain(500..530).chain(700..1200));
}

#[test]
fn overlap_is_refused_and_changes_nothing() {
    let world = World::empty(6);
    assert_eq!(world.insert(600..2000), Ok(1400));
    let before = world.frames.free_by_order();
    for (range, first) in [
        (0..601, 600),
        (1999..2001, 1999),
        (1100..1101, 1100),
        (512..1024, 600),
        (0..3072, 600),
        (1024..1536, 1024),
        (650..651, 650),
    ] {
        let overlap = InsertError::Overlap { frame: world.first + first };
        assert_eq!(world.insert(range.clone()), Err(overlap), "{range:?}");
        world.assert_as_before(before);
    }
    // Frames that are in use are managed no less.
    let magazine = Magazine::new();
    let taken = world.take_everything(&magazine);
    for index in [600, 1100, 1999] {
        let overlap = InsertError::Overlap { frame: world.first + index };
        assert_eq!(world.insert(index..index + 1), Err(overlap));
    }
    assert_eq!(world.frames.free_bulk(&magazine, &taken), Ok(()));
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    world.assert_as_before(before);
    assert_eq!(world.insert(2000..3072), Ok(1072));
    assert_eq!(world.insert(0..600), Ok(600));
    assert_holds(&world, 0..3072);
}

#[test]
fn past_the_end_is_refused() {
    let world = World::new(2);
    let end = world.frames.end();
    // SAFETY: it is refused, so nothing is touched.
    let result = unsafe { world.frames.insert(end..end + 1) };
    assert_eq!(result, Err(InsertError::BeyondEnd { end }));
}

#[test]
fn a_block_added_frame_by_frame_becomes_whole_and_merges() {
    let world = World::empty(4);
    assert_eq!(world.insert(512..2048), Ok(1536));
    let magazine = Magazine::new();
    // In an order that jumps about, with one frame out in the meantime.
    let mut held = None;
    for step in 0..FRAMES_PER_BLOCK {
        let index = step * 167 % FRAMES_PER_BLOCK;
        assert_eq!(world.insert(index..index + 1), Ok(1));
        if step == 300 {
            let mut taken = world.take_everything(&magazine);
            held = taken.pop();
            assert_eq!(world.frames.free_bulk(&magazine, &taken), Ok(()));
            assert_eq!(world.frames.drain(&magazine), Ok(()));
            assert_eq!(world.frames.validate(), Ok(()));
        }
    }
    let held = held.expect("one was taken");
    assert_eq!(world.frames.free(&magazine, held, Order::FRAME), Ok(()));
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    let by_order = world.frames.free_by_order();
    assert_eq!(by_order[11], 2048, "{by_order:?}");
    assert_eq!(world.frames.alloc(&magazine, order(11)), Some(world.first));
    assert_eq!(world.frames.validate(), Ok(()));
}

#[test]
fn neighbouring_ranges_merge() {
    let world = World::empty(8);
    for block in [3, 0, 7, 1, 6, 2, 5, 4] {
        assert_eq!(world.insert(block * 512..(block + 1) * 512), Ok(512));
        assert_eq!(world.frames.validate(), Ok(()));
    }
    assert_eq!(world.frames.free_by_order()[12], 4096);
    assert_eq!(world.frames.alloc(&Magazine::new(), order(12)), Some(world.first));
}

#[test]
#[cfg_attr(miri, ignore = "Miri aligns to 512 MiB at most")]
fn too_many_edges_are_refused() {
    let world = World::with_edges(400, 81);
    let mut inserted = 0;
    let refused = (0..400).find_map(|block| {
        let result = world.insert(block * 512 + 5..block * 512 + 6);
        inserted += usize::from(result.is_ok());
        result.err()
    });
    let Some(InsertError::TooManyPartialBlocks { limit }) = refused else {
        panic!("{refused:?} after {inserted}");
    };
    assert_eq!((inserted, limit), (81, 81));
    assert_holds(&world, (0..limit).map(|block| block * 512 + 5));
    // Where there is a mask already, there is room.
    assert_eq!(world.insert(6..512), Ok(506));
    assert_eq!(world.insert(0..5), Ok(5));
    assert_holds(&world, (0..512).chain((1..limit).map(|block| block * 512 + 5)));
}

#[test]
fn runs_do_not_reach_into_holes() {
    let world = World::empty(2);
    assert_eq!(world.insert(8..120), Ok(112));
    let magazine = Magazine::new();
    let got: Vec<usize> = core::iter::from_fn(|| world.frames.alloc(&magazine, order(5)))
        .map(|frame| world.index(frame))
        .collect();
    assert_eq!(got, [32, 64]);
    assert_eq!(world.frames.alloc(&magazine, order(6)), None);
    assert_eq!(world.frames.alloc(&magazine, order(9)), None);
}
