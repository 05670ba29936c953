//! Each violation of an invariant is found, and reported with its place.

use super::{World, order};
use crate::memory::cache::Magazine;
use crate::memory::frames::number::BlockNumber;
use crate::memory::frames::state::{self, State};
use crate::memory::frames::{FRAMES_PER_BLOCK, FrameNumber, Frames, Invalid, Order};

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
    set(&world, block, State::BUDDY);
    assert_eq!(world.frames.validate(), Err(Invalid::MissingFromBuddy { block: frame }));
    set(&world, block, State::ABSENT);
    let (states, inserted) = (FRAMES_PER_BLOCK, 2 * FRAMES_PER_BLOCK);
    assert_eq!(world.frames.validate(), Err(Invalid::Total { states, inserted }));
}

#[test]
fn a_block_in_the_buddy_with_another_state_is_found() {
    let (world, block, _) = with_run(2, Order::BLOCK);
    let other = block.buddy(Order::BLOCK);
    set(&world, other, State::huge(Order::BLOCK));
    assert_eq!(world.frames.validate(), Err(Invalid::NotInBuddy { block: other.first_frame() }));
}

#[test]
fn an_allocation_whose_blocks_disagree_is_found_at_either_end() {
    for stray in 0..4 {
        let (world, head, frame) = with_run(8, order(11));
        set(&world, BlockNumber(head.0 + stray), State::huge(Order::BLOCK));
        // Its head says so; and if that is the one that has left, the next one does.
        let block = if stray == 0 { frame + FRAMES_PER_BLOCK } else { frame };
        assert_eq!(world.frames.validate(), Err(Invalid::Huge { block }), "block {stray}");
    }
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

/// The first block of a free piece holds the piece's order, and the count of free frames relies on it.
#[test]
fn a_free_run_with_an_allocated_block_is_found() {
    let (world, block, _) = with_run(2, Order::BLOCK);
    let free = block.buddy(Order::BLOCK);
    let (head, in_use) = if free < block { (free, block) } else { (block, free) };
    set(&world, head, State::buddy(order(10)));
    set(&world, in_use, State::huge(Order::BLOCK));
    assert_eq!(world.frames.validate(), Err(Invalid::NotInBuddy { block: in_use.first_frame() }));
}
