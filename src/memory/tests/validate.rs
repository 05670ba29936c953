//! Each violation of an invariant is found, and reported with its place.

use super::{World, order};
use crate::memory::cache::Magazine;
use crate::memory::frames::number::BlockNumber;
use crate::memory::frames::state::{self, State};
use crate::memory::frames::{FRAMES_PER_BLOCK, FrameNumber, Frames, Invalid, Order};
use std::vec::Vec;

/// A world, and the block and first frame of an allocation of that order.
fn with_run(blocks: usize, wanted: Order) -> (World, BlockNumber, FrameNumber) {
    let world = World::new(blocks);
    let magazine = Magazine::new();
    let frame = world.frames.alloc(&magazine, wanted).expect("there is memory");
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    assert_eq!(world.frames.validate(), Ok(()));
    (world, frame.block(), frame)
}

fn set(world: &World, block: BlockNumber, state: State) {
    state::store(world.frames.table.cell(block), state);
}

#[test]
fn states_that_no_block_may_rest_in_are_found() {
    let (world, block, frame) = with_run(2, Order::BLOCK);
    set(&world, block, State::transit(Order::BLOCK));
    assert_eq!(world.frames.validate(), Err(Invalid::Transit { block: frame }));
    let corrupt = State::huge(order(3));
    set(&world, block, corrupt);
    assert_eq!(world.frames.validate(), Err(Invalid::State { block: frame, word: corrupt.word() }));
    set(&world, block, State::buddy(Order::BLOCK, None, None));
    // Both halves are free now, by the states.
    let lower = frame.block().head(order(10)).first_frame();
    assert_eq!(world.frames.validate(), Err(Invalid::NotMerged { block: lower, order: Order::BLOCK }));
    set(&world, block, State::BLANK);
    let (states, inserted) = (FRAMES_PER_BLOCK, 2 * FRAMES_PER_BLOCK);
    assert_eq!(world.frames.validate(), Err(Invalid::Total { states, inserted }));
}

#[test]
fn a_run_that_is_missing_in_its_list_is_found() {
    let (world, block, _) = with_run(3, Order::BLOCK);
    let (states, list, counted) = (world.frames.single_zone.0.lock().buddy.runs_of(Order::BLOCK) + 1, 0, 0);
    set(&world, block, State::buddy(Order::BLOCK, None, None));
    let result = world.frames.validate();
    assert!(
        matches!(result, Err(Invalid::Runs { states: found, .. }) if found == states)
            || matches!(result, Err(Invalid::NotMerged { .. })),
        "{result:?} {list} {counted}"
    );
}

#[test]
fn a_run_in_a_list_with_another_state_is_found() {
    let (world, block, _) = with_run(2, Order::BLOCK);
    let other = block.buddy(Order::BLOCK);
    set(&world, other, State::huge(Order::BLOCK));
    let order = Order::BLOCK;
    assert_eq!(world.frames.validate(), Err(Invalid::List { block: other.first_frame(), order }));
}

/// Free blocks that are not neighbours, so that their list has several runs; their first blocks in the order of the list.
fn with_list(runs: usize) -> (World, Vec<BlockNumber>) {
    let world = World::new(2 * runs);
    let magazine = Magazine::new();
    let all: Vec<_> = (0..2 * runs).map(|_| world.frames.alloc(&magazine, Order::BLOCK)).collect();
    for frame in all.into_iter().flatten().filter(|frame| frame.block().0.is_multiple_of(2)) {
        assert_eq!(world.frames.free(&magazine, frame, Order::BLOCK), Ok(()));
    }
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    assert_eq!(world.frames.validate(), Ok(()));
    let list = world.frames.single_zone.0.lock().buddy.list(&world.frames.table, Order::BLOCK).collect();
    (world, list)
}

#[test]
fn a_forged_link_is_found_wherever_it_is() {
    let order = Order::BLOCK;
    for (at, forged) in (0..4).flat_map(|at| (0..4).map(move |forged| (at, forged))) {
        for is_next in [true, false] {
            let (world, list) = with_list(4);
            let state = world.frames.table.state(list[at]);
            let link = Some(list[forged]);
            let changed = if is_next { state.with_next(link) } else { state.with_previous(link) };
            if changed == state {
                continue;
            }
            set(&world, list[at], changed);
            let result = world.frames.validate();
            assert!(
                matches!(result, Err(Invalid::List { order: found, .. } | Invalid::Runs { order: found, .. }) if found == order),
                "{at} {forged} {is_next}: {result:?}"
            );
        }
    }
}

#[test]
fn a_list_that_ends_early_or_is_a_ring_is_found() {
    let (world, list) = with_list(4);
    set(&world, list[1], world.frames.table.state(list[1]).with_next(None));
    let (order, states, counted) = (Order::BLOCK, 4, 4);
    assert_eq!(world.frames.validate(), Err(Invalid::Runs { order, states, list: 2, counted }));
    let (world, list) = with_list(4);
    set(&world, list[3], world.frames.table.state(list[3]).with_next(Some(list[0])));
    set(&world, list[0], world.frames.table.state(list[0]).with_previous(Some(list[3])));
    assert_eq!(world.frames.validate(), Err(Invalid::List { block: list[0].first_frame(), order }));
}

#[test]
fn a_run_with_a_block_that_has_a_state_of_its_own_is_found() {
    for stray in 1..4 {
        let (world, head, frame) = with_run(8, order(11));
        set(&world, BlockNumber(head.0 + stray), State::huge(Order::BLOCK));
        assert_eq!(world.frames.validate(), Err(Invalid::Run { block: frame }), "block {stray}");
    }
    let (world, head, frame) = with_run(8, order(11));
    set(&world, head, State::huge(order(12)));
    let result = world.frames.validate();
    assert!(
        matches!(result, Err(Invalid::Run { block }) if block <= frame + 4 * FRAMES_PER_BLOCK),
        "{result:?}"
    );
}

#[test]
fn bits_and_counts_that_differ_are_found() {
    let (world, block, frame) = with_run(1, Order::FRAME);
    world.frames.table.bitmap(block).set(frame.index_in_block() / 64, 1 << (frame.index_in_block() % 64));
    let (bits, free) = (FRAMES_PER_BLOCK, FRAMES_PER_BLOCK - 1);
    assert_eq!(world.frames.validate(), Err(Invalid::Count { block: block.first_frame(), bits, free }));
    // With the count, it is a block that should have left the table.
    set(&world, block, State::whole(FRAMES_PER_BLOCK));
    assert_eq!(world.frames.validate(), Err(Invalid::Stranded { block: block.first_frame() }));
}

#[test]
fn a_block_missing_in_the_summary_is_found() {
    let (world, block, _) = with_run(1, Order::FRAME);
    let state = world.frames.table.state(block);
    set(&world, block, state.reserve().expect("no CPU has reserved it"));
    world.frames.table.mark_unavailable(block);
    set(&world, block, state);
    assert_eq!(world.frames.validate(), Err(Invalid::NotInSummary { block: block.first_frame() }));
    world.frames.table.mark_available(block, order(6));
    assert_eq!(world.frames.validate(), Err(Invalid::NotInSummary { block: block.first_frame() }));
    world.frames.table.mark_available(block, order(8));
    assert_eq!(world.frames.validate(), Ok(()));
    set(&world, block, state.with_largest(order(7)));
    assert_eq!(world.frames.validate(), Err(Invalid::NotInSummary { block: block.first_frame() }));
}

#[test]
fn a_mask_that_does_not_fit_is_found() {
    let partly = || {
        let world = World::empty(1);
        assert_eq!(world.insert(0..200), Ok(200));
        assert_eq!(world.frames.validate(), Ok(()));
        let state = world.frames.table.state(world.first.block());
        (world, state)
    };
    let (world, state) = partly();
    world.frames.table.mask(state).set(4, 1);
    let block = world.first;
    assert_eq!(world.frames.validate(), Err(Invalid::Mask { block, bits: 201, managed: 200 }));

    // Not frame 70 is free, which is the allocator's, but frame 261, which is not.
    let (world, state) = partly();
    let bitmap = world.frames.table.bitmap(world.first.block());
    let words = bitmap.load();
    bitmap.reset_to_free_from(FRAMES_PER_BLOCK);
    for (index, word) in words.into_iter().enumerate() {
        let word = if index == 1 { word & !(1 << 6) } else { word };
        bitmap.set(index, word);
    }
    bitmap.set(4, 1 << 5);
    assert_eq!(state.free(), 200);
    assert_eq!(world.frames.validate(), Err(Invalid::Unmanaged { frame: world.first + 261 }));
}

#[test]
#[cfg_attr(miri, ignore = "a gigabyte of memory")]
fn statistics_count_free_frames_beyond_the_first_gigabyte() {
    // Most of it is never touched.
    let world = World::at_zero(512 + 4);
    let blocks = 512 + 1..512 + 4;
    assert_eq!(world.insert(blocks.start * FRAMES_PER_BLOCK..blocks.end * FRAMES_PER_BLOCK), Ok(1536));
    let magazine = Magazine::new();
    assert!(world.frames.alloc(&magazine, order(8)).is_some());
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    let mut expected = [0; crate::memory::frames::ORDERS];
    (expected[8], expected[10]) = (256, 1024);
    let zone_stats = world.frames.zone_stats().next().expect("all memory is one arena");
    assert_eq!((zone_stats.total, zone_stats.free, zone_stats.free_by_order), (1536, 1280, expected));
    assert_eq!(world.frames.free_by_order(), expected);
}

#[test]
fn metadata_is_as_large_as_was_asked_for() {
    let world = World::with_edges(100, 3);
    assert_eq!(world.frames.table_bytes(), Frames::metadata_bytes(world.frames.end(), 3));
    assert!(world.frames.table_bytes() > 100 * FRAMES_PER_BLOCK / 8, "a bit for each frame");
}

#[test]
fn a_free_run_with_an_allocated_block_is_found() {
    let (world, block, _) = with_run(2, Order::BLOCK);
    let head = block.head(order(10));
    set(&world, BlockNumber(head.0 + 1), State::huge(Order::BLOCK));
    set(&world, head, State::buddy(order(10), None, None));
    assert_eq!(world.frames.validate(), Err(Invalid::Run { block: head.first_frame() }));
}
