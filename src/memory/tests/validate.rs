//! Each violation of an invariant is found, and reported with its place.

use super::zones::two_nodes;
use super::{World, order};
use crate::memory::cache::Magazine;
use crate::memory::frames::gigabyte::Gigabyte;
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
    let in_no_word = State::buddy(Order::BLOCK);
    set(&world, block, in_no_word);
    assert_eq!(world.frames.validate(), Err(Invalid::State { block: frame, word: in_no_word.word() }));
    set(&world, block, State::BLANK);
    let (states, inserted) = (FRAMES_PER_BLOCK, 2 * FRAMES_PER_BLOCK);
    assert_eq!(world.frames.validate(), Err(Invalid::Total { states, inserted }));
}

/// Sets or clears the bit of a block in the buddy.
fn set_free(world: &World, block: BlockNumber, is_free: bool) {
    let bitmap = world.frames.place_of(block).1.free();
    let (word, bit) = (block.0 % 512 / 64, 1 << (block.0 % 64));
    bitmap.store(word, if is_free { bitmap.word(word) | bit } else { bitmap.word(word) & !bit });
}

#[test]
fn bits_of_free_blocks_that_differ_from_the_count_are_found() {
    let (world, block, _) = with_run(4, Order::BLOCK);
    let other = BlockNumber(block.0 + 2);
    set_free(&world, other, false);
    // The largest run is smaller than what its gigabyte is listed for.
    assert!(matches!(world.frames.validate(), Err(Invalid::List { order: found, .. }) if found == order(10)));
    set_free(&world, other, true);
    assert_eq!(world.frames.validate(), Ok(()));
    let beside = block.buddy(Order::BLOCK);
    set_free(&world, beside, false);
    assert_eq!(world.frames.validate(), Err(Invalid::FreeBlocks { bits: 2, counted: 3 }));
    // The allocated block is free by its bit instead.
    set_free(&world, block, true);
    assert_eq!(world.frames.validate(), Err(Invalid::Run { block: block.first_frame() }));
}

#[test]
fn an_allocated_run_with_a_free_block_is_found() {
    let (world, head, frame) = with_run(8, order(11));
    world.frames.zone_lock(head).lock().buddy.give(
        &world.frames.table,
        world.frames.place_of(head).1,
        BlockNumber(head.0 + 3),
        Order::BLOCK,
    );
    assert_eq!(world.frames.validate(), Err(Invalid::Run { block: frame }));
}

#[test]
fn halves_that_are_not_merged_are_found() {
    let (world, block, _) = with_run(2, Order::BLOCK);
    set(&world, block, State::BLANK);
    // Both halves are free now, by the bits.
    set_free(&world, block, true);
    let lower = block.head(order(10)).first_frame();
    assert_eq!(world.frames.validate(), Err(Invalid::NotMerged { block: lower, order: order(10) }));
}

#[test]
fn a_free_block_of_another_zone_is_found() {
    let world = World::with_zones(20, two_nodes);
    assert_eq!(world.insert(0..world.len), Ok(world.len));
    let place = |block: usize| world.frames.place_of(BlockNumber(block)).1;
    // Block 9 is of node 1, block 10 of the next zone type.
    assert_ne!(place(9).index(), place(10).index());
    let (below, above) = (place(9).free(), place(10).free());
    below.store(0, below.word(0) | 1 << 10);
    above.store(0, above.word(0) & !(1 << 10));
    assert_eq!(world.frames.validate(), Err(Invalid::Run { block: BlockNumber(10).first_frame() }));
}

/// Four gigabytes in one list, in the order of the list: of each a block is allocated, so that its largest run is half of it.
fn with_list() -> (World, Vec<&'static Gigabyte>) {
    let world = World::sparse(4 * 512);
    let magazine = Magazine::new();
    let all: Vec<_> = core::iter::from_fn(|| world.frames.alloc(&magazine, order(17))).collect();
    for frame in all.into_iter().filter(|frame| frame.block().0.is_multiple_of(512)) {
        assert_eq!(world.frames.free(&magazine, frame, order(17)), Ok(()));
    }
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    assert_eq!(world.frames.validate(), Ok(()));
    let list = world.frames.single_zone.0.lock().buddy.list(&world.frames.table, order(17)).collect();
    (world, list)
}

#[test]
fn a_forged_link_is_found_wherever_it_is() {
    let order = order(17);
    for (at, forged) in (0..4).flat_map(|at| (0..4).map(move |forged| (at, forged))) {
        for is_next in [true, false] {
            let (world, list) = with_list();
            let links = list[at].links();
            let link = Some(list[forged].index());
            let changed = if is_next { links.with_next(link) } else { links.with_previous(link) };
            if changed == links {
                continue;
            }
            list[at].set_links(changed);
            let result = world.frames.validate();
            assert!(
                matches!(result, Err(Invalid::List { order: found, .. } | Invalid::Gigabytes { order: found, .. }) if found == order),
                "{at} {forged} {is_next}: {result:?}"
            );
        }
    }
}

#[test]
fn a_list_that_ends_early_or_is_a_ring_is_found() {
    let (world, list) = with_list();
    list[1].set_links(list[1].links().with_next(None));
    let order = order(17);
    assert_eq!(world.frames.validate(), Err(Invalid::Gigabytes { order, entries: 4, list: 2 }));
    let (world, list) = with_list();
    list[3].set_links(list[3].links().with_next(Some(list[0].index())));
    list[0].set_links(list[0].links().with_previous(Some(list[3].index())));
    let block = list[0].entry().first_block().first_frame();
    assert_eq!(world.frames.validate(), Err(Invalid::List { block, order }));
}

#[test]
fn a_gigabyte_in_the_wrong_list_is_found() {
    let (world, list) = with_list();
    let (entry, block) = (list[2].entry(), list[2].entry().first_block().first_frame());
    list[2].set_entry(entry.with_largest(Some(order(18))));
    assert_eq!(world.frames.validate(), Err(Invalid::List { block, order: order(18) }));
    list[2].set_entry(entry.with_largest(Some(order(9))));
    assert_eq!(world.frames.validate(), Err(Invalid::NotMerged { block, order: order(17) }));
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
    let (world, block, _) = with_run(4, Order::BLOCK);
    let free = BlockNumber(block.0 + 3);
    set(&world, free, State::huge(Order::BLOCK));
    assert_eq!(world.frames.validate(), Err(Invalid::Run { block: BlockNumber(block.0 + 2).first_frame() }));
}
