//! The allocator's policy, case by case: from which block it allocates, which blocks it caches and which it returns to the buddy.

use super::{World, order};
use crate::memory::cache::magazine::BATCH;
use crate::memory::cache::{CAPACITY, Magazine};
use crate::memory::frames::number::BlockNumber;
use crate::memory::frames::state::State;
use crate::memory::frames::{FRAMES_PER_BLOCK, FrameNumber, Frames, Invalid, NodeId, Order};
use std::collections::BTreeSet;
use std::vec::Vec;

#[test]
fn all_single_frames_of_fragmented_blocks_are_found() {
    let world = World::new(4);
    let magazine = Magazine::new();
    let other = Magazine::new();
    let all = world.take_everything(&magazine);
    let (even, odd): (Vec<_>, Vec<_>) = all.into_iter().partition(|frame| frame.get() % 2 == 0);
    assert_eq!(world.frames.free_bulk(&other, &even), Ok(()));
    assert_eq!(world.frames.alloc(&magazine, order(1)), None);
    assert_eq!(world.frames.drain(&other), Ok(()));
    assert_eq!(world.frames.free_by_order()[0], even.len());
    let again = world.take_everything(&magazine);
    assert_eq!(again.len(), even.len());
    assert!(again.iter().all(|frame| frame.get() % 2 == 0));
    assert_eq!(world.frames.free_bulk(&other, &odd), Ok(()));
    assert_eq!(world.frames.free_bulk(&other, &again), Ok(()));
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    assert_eq!(world.frames.drain(&other), Ok(()));
    world.assert_as_before(World::new(4).frames.free_by_order());
}

#[test]
#[cfg_attr(miri, ignore = "Miri aligns to 512 MiB at most")]
fn every_order_up_to_one_gibibyte() {
    let world = World::new(3 * 512);
    let before = world.frames.free_by_order();
    assert_eq!(before[18], 3 << 18);
    let magazine = Magazine::new();
    let mut out = Vec::new();
    for number in 0..=18 {
        let frame = world.frames.alloc(&magazine, order(number)).expect("there is memory");
        assert!(frame.is_aligned_to(order(number)));
        out.push((world.index(frame), order(number)));
    }
    assert_eq!(world.frames.alloc(&magazine, Order::MAX), None);
    out.sort_unstable_by_key(|&(start, _)| start);
    assert!(out.windows(2).all(|pair| pair[0].0 + pair[0].1.frames() <= pair[1].0), "overlap");
    assert_eq!(world.frames.validate(), Ok(()));
    for (start, order) in out {
        assert_eq!(world.frames.free(&magazine, world.first + start, order), Ok(()));
    }
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    world.assert_as_before(before);
}

#[test]
fn a_few_frames_freed_in_one_call_stay_with_the_cpu() {
    let world = World::new(1);
    let all = world.take_everything(&Magazine::new());
    let few = BATCH / 2;
    let magazine = Magazine::new();
    assert_eq!(world.frames.free_bulk(&magazine, &all[..few]), Ok(()));
    assert_eq!(magazine.len(), few);
    assert_eq!(world.frames.free_frames(), 0);
    // One more is too many, though there would be room.
    assert_eq!(world.frames.free_bulk(&magazine, &all[few..2 * few + 1]), Ok(()));
    assert_eq!((magazine.len(), world.frames.free_frames()), (few, few + 1));
}

/// Frames that follow one another are freed eight at a time; those of them that lie elsewhere are not taken for them.
#[test]
fn just_the_frames_in_the_list_are_freed() {
    for elsewhere in (0..1_usize << 8).step_by(if cfg!(miri) { 85 } else { 1 }) {
        let world = World::new(1);
        world.take_everything(&Magazine::new());
        let frames: Vec<_> = (0..8).map(|index| 16 + index + 16 * (elsewhere >> index & 1)).collect();
        let list: Vec<_> = frames.iter().map(|index| world.first + *index).collect();
        assert_eq!(world.frames.return_singles(&list), Ok(()));
        let expected = frames.iter().fold(0, |bits, index| bits | 1_u64 << index);
        assert_eq!(world.frames.table.bitmap(world.first.block()).word(0), expected, "{frames:?}");
        assert_eq!(world.frames.free_frames(), 8);
    }
}

#[test]
fn a_reserved_block_is_not_available() {
    let world = World::new(2);
    let magazine = Magazine::new();
    let frame = world.frames.alloc(&magazine, Order::FRAME).expect("there is memory");
    let block = frame.block();
    assert!(!world.frames.table.is_marked_available(block, Order::FRAME), "held");
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    assert!(world.frames.table.is_marked_available(block, Order::FRAME));
    world.take_everything(&magazine);
    assert!(!world.frames.table.is_marked_available(block, Order::FRAME), "nothing is left");
}

/// The path that the kernel tries first, without the search.
#[test]
fn the_fast_paths_allocate_what_the_search_would() {
    let world = World::new(32);
    let before = world.frames.free_by_order();
    let magazine = Magazine::new();
    assert_eq!(world.frames.alloc_from_reserved(&magazine, order(3)), None, "it holds no block");
    let whole = world.frames.alloc_from_buddy(&magazine, order(10)).expect("there is memory");
    assert!(whole.is_aligned_to(order(10)));
    assert_eq!(world.frames.validate(), Ok(()));

    let frame = world.frames.alloc(&magazine, Order::FRAME).expect("there is memory");
    assert_eq!(magazine.hint.reserved(Order::FRAME).word.get(), BATCH / 64, "where the refill stopped");
    let mut runs = Vec::new();
    for number in 1..=5 {
        let reserved = magazine.hint.reserved(order(number));
        if reserved.block.get().is_none() {
            assert_eq!(
                world.frames.alloc_from_reserved(&magazine, order(number)),
                None,
                "none is reserved for it"
            );
            let first = world.frames.alloc(&magazine, order(number)).expect("there is memory");
            runs.push((first, order(number)));
        }
        let block = reserved.block.get().expect("the search has reserved it");
        let word = block.first_frame() + reserved.word.get() * 64;
        let run = world.frames.alloc_from_reserved(&magazine, order(number)).expect("a word is free");
        assert!(run.is_aligned_to(order(number)) && (word..word + 64).contains(&run), "order {number}");
        runs.push((run, order(number)));
    }
    assert_eq!(world.frames.alloc_from_reserved(&magazine, order(5)), None, "not in this word");
    assert_eq!(world.frames.alloc_from_reserved(&magazine, Order::FRAME), None);
    assert_eq!(world.frames.alloc_from_reserved(&magazine, order(6)), None);
    assert_eq!(world.frames.validate(), Ok(()));
    runs.extend([(whole, order(10)), (frame, Order::FRAME)]);
    for (frame, order) in runs {
        assert_eq!(world.frames.free(&magazine, frame, order), Ok(()));
    }
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    world.assert_as_before(before);
}

#[test]
fn a_small_bulk_leaves_the_rest_of_a_batch() {
    for (wanted, left) in [(BATCH - 1, 1), (BATCH, 0), (BATCH + 1, 0)] {
        let (world, magazine) = (World::new(1), Magazine::new());
        let mut out = std::vec![FrameNumber::new(0); wanted];
        assert_eq!(world.frames.alloc_bulk(&magazine, &mut out), wanted);
        assert_eq!(magazine.len(), left, "{wanted} at once");
    }
}

#[test]
fn a_refill_leaves_the_cached_runs() {
    let (world, magazine) = (World::new(1), Magazine::new());
    let run = world.frames.alloc(&magazine, order(3)).expect("there is memory");
    assert_eq!(world.frames.free(&magazine, run, order(3)), Ok(()));
    assert!(world.frames.alloc(&magazine, Order::FRAME).is_some());
    assert_eq!(world.frames.alloc_cached(&magazine, order(3)), Some(run));
}

/// Each CPU would reserve a block for each of nine orders, 72 in all. They share blocks before those of 64 are used up.
#[test]
fn the_cpus_of_a_small_machine_leave_whole_blocks() {
    let world = World::new(64);
    let before = world.frames.free_by_order();
    let cpus = [(); 8].map(|()| Magazine::new());
    let mut runs = Vec::new();
    for order in (0..Order::BLOCK.get()).map(order) {
        for cpu in &cpus {
            runs.push((cpu, world.frames.alloc(cpu, order).expect("there is memory"), order));
        }
    }
    let whole: usize = world.frames.free_by_order()[Order::BLOCK.get() as usize..].iter().sum();
    assert!(whole >= 24 * FRAMES_PER_BLOCK, "{whole} frames are in whole blocks");
    let reserved = || world.frames.counters.reserved.load(std::sync::atomic::Ordering::Relaxed);
    assert!(reserved() > 24, "{}", reserved());
    for (cpu, frame, order) in runs {
        assert_eq!(world.frames.free(cpu, frame, order), Ok(()));
    }
    cpus.iter().for_each(|cpu| assert_eq!(world.frames.drain(cpu), Ok(())));
    assert_eq!(reserved(), 0);
    world.assert_as_before(before);
}

#[test]
fn a_magazine_caches_at_most_its_maximum() {
    let world = World::new(16);
    let magazine = Magazine::new();
    let singles: Vec<_> = (0..CAPACITY).filter_map(|_| world.frames.alloc(&magazine, Order::FRAME)).collect();
    let runs: Vec<_> = (1..=8)
        .map(|number| (world.frames.alloc(&magazine, order(number)).expect("there is memory"), order(number)))
        .collect();
    let singles = singles.into_iter().map(|frame| (frame, Order::FRAME));
    for (frame, order) in singles.chain(runs) {
        assert_eq!(world.frames.free(&magazine, frame, order), Ok(()));
    }
    assert_eq!(magazine.cached_frames(), Magazine::MAX_FRAMES);
    const { assert!(Magazine::INACTIVE > CAPACITY, "no number of frames") };
    magazine.set_local_node(NodeId(3));
    assert_eq!(magazine.local_node(), NodeId(3));
}

#[test]
fn frames_in_its_magazine_do_not_fail_a_cpu() {
    let world = World::new(1);
    let magazine = Magazine::new();
    let frame = world.frames.alloc(&magazine, Order::FRAME).expect("there is memory");
    assert_eq!(world.frames.free(&magazine, frame, Order::FRAME), Ok(()));
    assert_eq!(world.frames.alloc(&magazine, Order::BLOCK), Some(world.first));
    assert_eq!(world.frames.alloc(&magazine, Order::FRAME), None);
}

#[test]
fn partial_blocks_are_used_up_before_whole_ones_are_split() {
    let world = World::new(4);
    let magazine = Magazine::new();
    let frames: Vec<_> = (0..1024).filter_map(|_| world.frames.alloc(&magazine, Order::FRAME)).collect();
    assert_eq!(frames.len(), 1024);
    let (stay, go): (Vec<_>, Vec<_>) = frames.into_iter().partition(|frame| frame.get() % 2 == 0);
    assert_eq!(world.frames.free_bulk(&magazine, &go), Ok(()));
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    let other = Magazine::new();
    let again = (0..512).filter_map(|_| world.frames.alloc(&other, Order::FRAME)).count();
    assert_eq!((again, stay.len()), (512, 512));
    assert_eq!(free_blocks(&world.frames), 2);
}

#[test]
fn a_cpu_that_cycles_through_a_block_keeps_it_reserved() {
    let world = World::new(4);
    let magazine = Magazine::new();
    let mut frames = [FrameNumber::new(0); 200];
    let mut first = None;
    for _ in 0..10 {
        assert_eq!(world.frames.alloc_bulk(&magazine, &mut frames), frames.len());
        let block = frames[0].block();
        assert_eq!(*first.get_or_insert(block), block);
        assert_eq!(world.frames.free_bulk(&magazine, &frames), Ok(()));
        assert_eq!(free_blocks(&world.frames), 3, "the block in use stays in the table");
    }
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    assert_eq!(free_blocks(&world.frames), 4);
}

#[test]
fn a_cpu_that_alternates_between_two_blocks_keeps_both_reserved() {
    let world = World::new(6);
    let before = world.frames.free_by_order();
    let magazine = Magazine::new();
    let mut frames = [FrameNumber::new(0); 700];
    let blocks = |frames: &[FrameNumber]| frames.iter().map(|frame| frame.block().0).collect::<BTreeSet<_>>();
    let mut first = None;
    for _ in 0..10 {
        assert_eq!(world.frames.alloc_bulk(&magazine, &mut frames), frames.len());
        assert_eq!(first.get_or_insert(blocks(&frames)), &blocks(&frames));
        assert_eq!(world.frames.free_bulk(&magazine, &frames), Ok(()));
        assert_eq!(free_blocks(&world.frames), 4, "both stay in the table");
        assert_eq!(world.frames.validate(), Ok(()));
    }
    // With a third one, the oldest is everybody's again.
    let mut many = [FrameNumber::new(0); 1300];
    assert_eq!(world.frames.alloc_bulk(&magazine, &mut many), many.len());
    assert_eq!(blocks(&many).len(), 3);
    assert_eq!(world.frames.free_bulk(&magazine, &many), Ok(()));
    assert_eq!(free_blocks(&world.frames), 4);
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    world.assert_as_before(before);
}

/// Blocks that order 9 could have, the magazine's own aside.
fn free_blocks(frames: &Frames) -> usize {
    let magazine = Magazine::new();
    let taken: Vec<_> = core::iter::from_fn(|| frames.alloc(&magazine, Order::BLOCK)).collect();
    for &frame in &taken {
        assert_eq!(frames.free(&magazine, frame, Order::BLOCK), Ok(()));
    }
    assert_eq!(frames.drain(&magazine), Ok(()));
    taken.len()
}
