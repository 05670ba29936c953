//! The pure parts: units, transitions of the state word, arithmetic on bits, the summary, the magazine.

use super::order;
use crate::memory::cache::magazine::{BATCH, CAPACITY, Full, Magazine};
use crate::memory::frames::atomic_frame::AtomicFrame;
use crate::memory::frames::bitmap::{
    Bitmap, WORDS, largest_in, lowest_run, maximal_runs, runs_by_order, starts_of_runs,
};
use crate::memory::frames::number::{BlockNumber, FrameNumber, Order};
use crate::memory::frames::state::{self, Kind, State};
use crate::memory::frames::summary::{Rows, Summary};
use crate::memory::frames::sync::{AtomicU64, Ordering};
use crate::memory::frames::table;
use crate::memory::frames::{Frames, ORDERS};
use std::boxed::Box;
use std::collections::BTreeSet;
use std::vec::Vec;

#[test]
fn orders_end_at_one_gibibyte() {
    assert_eq!(ORDERS, 19);
    assert_eq!(Order::new(19), None);
    assert_eq!(Order::MAX.bytes(), 1 << 30);
    assert_eq!(Order::BLOCK.frames(), 512);
    assert!(FrameNumber::new(0x40).is_aligned_to(order(6)));
    assert!(!FrameNumber::new(0x40).is_aligned_to(order(7)));
    assert_eq!(FrameNumber::containing(0x1fff).address(), 0x1000);
    assert_eq!([1, 2, 3, 1 << 18].map(Order::containing), [0, 1, 2, 18].map(Order::new));
    assert_eq!([(1 << 18) + 1, usize::MAX].map(Order::containing), [None; 2]);
    assert_eq!(std::format!("{} at {}", FrameNumber::new(0x40), order(6)), "frame 0x40 at order 6");
}

#[test]
fn largest_piece_is_bounded_by_size_alignment_and_one_gibibyte() {
    assert_eq!(Order::largest_at(BlockNumber(0), 1), order(9));
    assert_eq!(Order::largest_at(BlockNumber(4), 100), order(11));
    assert_eq!(Order::largest_at(BlockNumber(64), 5), order(11));
    assert_eq!(Order::largest_at(BlockNumber(0), 1 << 20), order(18));
}

#[test]
fn blocks_with_an_edge_in_them_are_counted_once() {
    let partial = |ranges: &[(usize, usize)]| {
        let ranges = ranges.iter().map(|&(start, end)| FrameNumber::new(start)..FrameNumber::new(end));
        Frames::partial_blocks(ranges)
    };
    assert_eq!(partial(&[(0, 512), (1024, 2048)]), 0);
    assert_eq!(partial(&[(3, 3), (7, 9), (20, 30)]), 1);
    assert_eq!(partial(&[(7, 512), (512, 1023), (1023, 1030)]), 3);
}

#[test]
fn metadata_is_at_most_two_bits_a_frame() {
    for frames in [1 << 15, 1 << 16, 1 << 18, (1 << 20) + 1, 1 << 24, 1 << 32usize] {
        let bytes = Frames::metadata_bytes(FrameNumber::new(frames), frames / 512 / 4);
        // The padding of the last block and before each part.
        assert!(bytes * 8 <= frames * 2 + 8 * 8 * 64, "{frames} frames: {bytes} bytes");
    }
}

#[test]
fn taking_and_putting_back_never_leave_the_bounds() {
    for free in 0..=512 {
        let state = State::whole(free).reserve().expect("no CPU has reserved it");
        for count in [1, 2, 63, 64, 255, 511, 512] {
            let some = state.take_up_to(count);
            assert_eq!(some.map(State::free), (free > 0).then(|| free.saturating_sub(count)));
            let exact = state.take(count);
            assert_eq!(exact.map(State::free), free.checked_sub(count));
            let largest = state.largest();
            assert_eq!(exact.and_then(|exact| exact.put(count, largest)), exact.map(|_| state));
            assert_eq!(state.put(count, Order::FRAME).is_some(), free + count <= 512);
        }
    }
    assert_eq!(State::whole(5).take_up_to(0), None);
}

#[test]
fn a_free_block_leaves_the_table_unless_reserved() {
    let full = State::whole(500).put(12, Order::FRAME).expect("it fits");
    assert_eq!(full.kind(), Kind::Transit);
    let held = State::whole(500).reserve().and_then(|state| state.put(12, Order::FRAME)).expect("it fits");
    assert_eq!((held.kind(), held.free(), held.is_reserved()), (Kind::Frames, 512, true));
    assert_eq!(held.reserve(), None);
    assert_eq!(held.release().map(State::kind), Some(Kind::Transit));
    assert_eq!(State::whole(3).reserve().and_then(State::release), Some(State::whole(3)));
    assert_eq!(State::whole(3).release(), None);
}

#[test]
fn a_partial_block_stays_until_it_is_whole() {
    let part =
        State::partial(77).adopt(511).and_then(|state| state.put(511, Order::FRAME)).expect("they fit");
    assert_eq!((part.kind(), part.free(), part.managed(), part.mask()), (Kind::Frames, 511, 511, 77));
    assert!(!part.is_whole());
    assert_eq!(part.put(1, Order::FRAME), None, "more free than managed");
    assert_eq!(part.adopt(2), None, "more managed than a block has");
    let whole = part.adopt(1).expect("it fits");
    assert!(whole.is_whole());
    assert_eq!(whole.put(1, Order::FRAME).map(State::kind), Some(Kind::Transit));
}

#[test]
fn only_frames_can_be_taken_from() {
    let in_buddy = State::buddy(order(10));
    for state in
        [State::BLANK, in_buddy, State::transit(order(9)), State::huge(order(12)), State::cached(order(9))]
    {
        assert_ne!(state.kind(), Kind::Frames);
        assert!(state.take_up_to(1).is_none());
        assert!(state.take(0).is_none());
        assert!(state.put(0, Order::FRAME).is_none());
        assert!(state.reserve().is_none());
        assert!(state.release().is_none());
        assert!(state.adopt(1).is_none());
    }
    for number in 9..=18 {
        assert_eq!(State::huge(order(number)).order(), Order::new(number));
        assert_eq!(State::huge(order(number)).kind(), Kind::Huge);
        assert_eq!(State::transit(order(number)).order(), Order::new(number));
    }
}

#[test]
fn a_run_of_less_than_a_block_has_no_state_of_a_run() {
    for number in 0..=18 {
        let states = [State::buddy(order(number)), State::cached(order(number)), State::huge(order(number))];
        let kinds = [Kind::Buddy, Kind::Cached, Kind::Huge];
        for (state, kind) in states.into_iter().zip(kinds) {
            assert_eq!(state.kind(), if number < 9 { Kind::Corrupt } else { kind });
            assert!(number < 9 || state.blocks() == 1 << (number - 9));
        }
    }
}

#[test]
fn update_changes_the_word_or_leaves_it() {
    let cell = AtomicU64::new(State::whole(10).word());
    assert_eq!(state::update(&cell, |state| state.take(11)), None);
    assert_eq!(state::load(&cell), State::whole(10));
    assert_eq!(state::update(&cell, |state| state.take(4)), Some((State::whole(10), State::whole(6))));
    assert_eq!(state::load(&cell), State::whole(6));
}

#[test]
fn states_of_adjacent_blocks_are_in_different_lines() {
    let all_zones: Vec<usize> = (0..192).map(|block| table::cell_of(BlockNumber(block))).collect();
    assert_eq!(all_zones.iter().collect::<BTreeSet<_>>().len(), all_zones.len());
    assert!(all_zones.iter().enumerate().all(|(block, place)| place / 64 == block / 64), "a group stays one");
    for group in all_zones.chunks(8) {
        let lines: BTreeSet<usize> = group.iter().map(|place| place / 8).collect();
        assert_eq!(lines.len(), 8, "{group:?}");
    }
}

/// The first `count` of a fixed series of words: dense ones, sparse ones, and patterns.
fn words(count: usize) -> impl Iterator<Item = u64> {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    (0..count).map(move |index| {
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        match index % 5 {
            0 => next(),
            1 => next() | next() | next(),
            2 => next() & next() & next(),
            3 => u64::MAX << (next() % 64),
            _ => u64::MAX ^ (1 << (next() % 64)),
        }
    })
}

#[test]
fn starts_of_runs_agree_with_a_check_of_each_bit() {
    for word in words(500) {
        for number in 0..=6 {
            let frames = order(number).frames();
            let naive = (0..64)
                .step_by(frames)
                .filter(|&at| (at..at + frames).all(|bit| word >> bit & 1 == 1))
                .fold(0u64, |starts, at| starts | 1 << at);
            assert_eq!(starts_of_runs(word, order(number)), naive, "{word:#x} order {number}");
            let lowest = (naive != 0).then(|| {
                let start = naive.trailing_zeros();
                (start as usize, (u64::MAX >> (64 - frames)) << start)
            });
            assert_eq!(lowest_run(word, order(number)), lowest, "{word:#x} order {number}");
        }
    }
}

#[test]
fn a_run_is_put_into_a_word_whole_or_not_at_all() {
    let bitmap = Bitmap::new();
    assert_eq!(bitmap.set_if_clear(3, 0xff00), Some(0xff00));
    assert_eq!(bitmap.set_if_clear(3, 0x1ff), None);
    assert_eq!(bitmap.word(3), 0xff00);
    assert_eq!(bitmap.set_if_clear(3, 0xff), Some(0xffff));
    assert_eq!(bitmap.word(3), 0xffff);
}

#[test]
fn maximal_runs_cover_each_bit_once() {
    let mut source = words(4000);
    for round in 0..400 {
        let mut map: [u64; WORDS] = core::array::from_fn(|_| source.next().unwrap_or(u64::MAX));
        // Long runs do not come by chance.
        if round % 4 == 0 {
            map[..4].fill(u64::MAX);
        }
        if round % 8 == 0 {
            map.fill(u64::MAX);
        }
        let runs = maximal_runs(&map);
        let covered: usize = runs.iter().enumerate().map(|(number, count)| count << number).sum();
        let ones: usize = map.iter().map(|word| word.count_ones() as usize).sum();
        assert_eq!(covered, ones);
        assert_eq!(runs[9], usize::from(ones == 512));
        let largest = (0..=9).rev().find(|&number| runs_by_order(&map, order(number)) > 0);
        assert_eq!(largest, (0..=9).rev().find(|&number| runs[usize::from(number)] > 0));
    }
}

#[test]
fn each_bit_of_a_bitmap_is_taken_once() {
    for start in 0..WORDS {
        let bitmap = Bitmap::new();
        bitmap.reset_to_free_from(70);
        let base = FrameNumber::new(512 * 9);
        let mut seen = BTreeSet::new();
        for count in [1, 64, 3, 100, 130, 64, 80] {
            let mut out = std::vec![FrameNumber::new(0); count];
            bitmap.collect(start, base, AtomicFrame::from_mut(&mut out));
            seen.extend(out.into_iter().map(|frame| frame - base));
        }
        assert!(bitmap.is_empty());
        assert_eq!(seen, (70..512).collect());
    }
}

#[test]
fn a_refill_from_a_whole_block_pops_ascending() {
    let bitmap = Bitmap::new();
    bitmap.reset_to_free_from(0);
    let mut out = [FrameNumber::new(0); 70];
    assert_eq!(bitmap.collect(1, FrameNumber::new(0), AtomicFrame::from_mut(&mut out)), 2);
    let popped: Vec<usize> = out.iter().rev().map(|frame| frame.get()).collect();
    assert_eq!(popped, (64..134).collect::<Vec<_>>());
}

#[test]
fn runs_come_aligned_from_every_start() {
    for number in 1..=8 {
        for start in 0..WORDS {
            let bitmap = Bitmap::new();
            // One frame is missing, so one run of each order is.
            bitmap.reset_to_free_from(1);
            let mut seen = BTreeSet::new();
            while let Some(index) = bitmap.take_run(start, order(number)) {
                assert_eq!(index % order(number).frames(), 0);
                assert!(seen.insert(index));
            }
            assert_eq!(seen.len(), 512 / order(number).frames() - 1);
            assert!(!bitmap.has_run(order(number)));
            let left: usize = bitmap.load().iter().map(|word| word.count_ones() as usize).sum();
            assert_eq!(left, order(number).frames() - 1);
        }
    }
}

#[test]
fn a_run_is_taken_from_the_word_that_is_named_or_the_next() {
    for number in 0..=6 {
        let bitmap = Bitmap::new();
        bitmap.reset_to_free_from(0);
        if number > 0 {
            assert_eq!(bitmap.take_run(3 + WORDS, order(number)), Some(3 * 64), "order {number}");
        }
        let seen = bitmap.see_run_in(5, order(number)).expect("all is free");
        assert_eq!(bitmap.take_seen(5, seen), Some(5 * 64));
        assert_eq!(bitmap.word(5), !(u64::MAX >> (64 - order(number).frames())), "and no more of it");
        // Frames that were allocated since are not there.
        let seen = bitmap.see_run_in(6, order(number)).expect("all is free");
        bitmap.take_run_in(6, order(number));
        assert_eq!(bitmap.take_seen(6, seen), None);
    }
    let bitmap = Bitmap::new();
    bitmap.reset_to_free_from(7 * 64);
    assert_eq!(bitmap.take_run(3, order(6)), Some(7 * 64));
    assert!(bitmap.see_run_in(7, Order::FRAME).is_none());
    assert!(bitmap.is_empty());
    bitmap.set(2, 1);
    assert!(!bitmap.is_empty());
}

#[test]
fn setting_bits_returns_the_word_before() {
    let bitmap = Bitmap::new();
    assert_eq!(bitmap.set(3, 0b1100), 0);
    assert_eq!(bitmap.set(3, 0b0110), 0b1100);
    assert_eq!(bitmap.word(3), 0b1110);
}

#[test]
fn the_summary_finds_what_is_set_and_nothing_else() {
    for blocks in [1, 64, 65, 512, 8191, 64 * 64 * 66 + 70] {
        summary_of(blocks);
    }
}

fn summary_of(blocks: usize) {
    let levels = Summary::words_needed(blocks).map(|count| -> &'static [AtomicU64] {
        Box::leak((0..count).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().into_boxed_slice())
    });
    let summary = Summary::new(levels);
    let within = |range: core::ops::Range<usize>, order: Order| {
        let range = BlockNumber(range.start)..BlockNumber(range.end);
        summary.candidates(range, order).map(|block| block.0).collect::<Vec<_>>()
    };
    let found = |order: Order| within(0..blocks, order);
    let set = [0, 1, 7, 8, 63, 64, 511, 4095, 4096, 5000, 8190, 8192, 262_143, 262_144, blocks - 1];
    let mut set: Vec<_> = set.into_iter().filter(|&block| block < blocks).collect();
    set.sort_unstable();
    set.dedup();
    assert!(found(Order::FRAME).is_empty());
    // Every second one of them has runs up to order 3 only.
    let largest = |index: usize| order(if index.is_multiple_of(2) { 8 } else { 3 });
    for (index, &block) in set.iter().enumerate() {
        summary.set(BlockNumber(block), Rows::up_to(largest(index)));
        assert_eq!(summary.rows_of(BlockNumber(block)), Rows::up_to(largest(index)));
    }
    let large: Vec<_> = set.iter().copied().step_by(2).collect();
    for number in 0..=8 {
        assert_eq!(found(order(number)), if number <= 3 { set.clone() } else { large.clone() }, "{blocks}");
    }
    for first in 0..set.len() {
        for end in first..set.len() {
            assert_eq!(within(set[first]..set[end], order(2)), set[first..end]);
        }
    }
    // A search stops at a block whose marks were right after all.
    summary.clear(BlockNumber(set[0]), Rows::NONE.others(), || Rows::up_to(order(4)));
    assert_eq!(found(order(4)), large);
    assert_eq!(found(order(5)), large[1..]);
    summary.clear(BlockNumber(set[0]), Rows::up_to(order(2)).others(), || Rows::NONE);
    assert_eq!((found(order(2)), found(order(3))), (set.clone(), set[1..].to_vec()));
    // Clearing leaves no bit behind, in any level, and hides no other block.
    for (index, &block) in set.iter().enumerate() {
        summary.clear(BlockNumber(block), Rows::NONE.others(), || Rows::NONE);
        assert_eq!(found(Order::FRAME), set[index + 1..]);
    }
    let is_zero = |level: &[AtomicU64]| level.iter().all(|word| word.load(Ordering::Relaxed) == 0);
    assert!(levels.into_iter().all(is_zero));
}

#[test]
fn the_largest_free_run_of_a_bitmap_is_exact() {
    let bitmap = Bitmap::new();
    assert_eq!(bitmap.largest(), Order::FRAME);
    // Each step completes an aligned run twice as long.
    for number in 0..=8 {
        let frames = order(number).frames();
        for frame in 0..frames {
            bitmap.set(frame / 64, 1 << (frame % 64));
        }
        assert_eq!(bitmap.largest(), order(number));
        let expected = if number < 6 { number } else { 8 };
        assert_eq!(
            largest_in(bitmap.word(0), Order::FRAME),
            order(expected),
            "an upper bound for a whole word"
        );
        assert_eq!(largest_in(bitmap.word(0), order(8)), order(8));
    }
    // What is left of it is the other half.
    assert_eq!(bitmap.take_run(0, Order::FRAME.double()), Some(0));
    assert_eq!(bitmap.largest(), order(7));
}

#[test]
fn a_magazine_is_a_stack_with_a_bound() {
    let magazine = Magazine::new();
    assert_eq!(magazine.pop(), None);
    for number in 0..CAPACITY {
        assert_eq!(magazine.push(FrameNumber::new(number)), Ok(()));
    }
    assert_eq!(magazine.push(FrameNumber::new(999)), Err(Full));
    assert_eq!(magazine.len(), CAPACITY);
    magazine.drop_oldest(BATCH);
    assert_eq!(magazine.frames().next(), Some(FrameNumber::new(BATCH)));
    for number in (BATCH..CAPACITY).rev() {
        assert_eq!(magazine.pop(), Some(FrameNumber::new(number)));
    }
    assert!(magazine.is_empty());
    assert_eq!(magazine.pop(), None);
    assert_eq!(align_of::<Magazine>(), 64);
}

#[test]
fn many_frames_go_into_a_magazine_at_once_or_not_at_all() {
    let frames: Vec<_> = (0..CAPACITY).map(FrameNumber::new).collect();
    let magazine = Magazine::new();
    assert!(magazine.is_empty());
    assert_eq!(magazine.push_many(&frames[..3]), Ok(()));
    assert!(!magazine.is_empty());
    assert_eq!(magazine.push_many(&frames[3..]), Ok(()));
    assert!(magazine.frames().eq(frames.iter().copied()));
    assert_eq!(magazine.push_many(&frames[..1]), Err(Full));
    let mut newest = [FrameNumber::new(0); 2];
    magazine.pop_many(&mut newest);
    assert_eq!(newest, frames[CAPACITY - 2..]);
    assert_eq!(magazine.push_many(&frames[..3]), Err(Full), "there is room for two");
    assert!(magazine.frames().eq(frames[..CAPACITY - 2].iter().copied()), "nothing has changed");
}

#[test]
fn words_that_no_transition_makes_are_corrupt() {
    let kind = |word| state::load(&AtomicU64::new(word)).kind();
    // A kind in the low bits, an order from bit 4 up.
    let huge = State::huge(Order::BLOCK).word() & 7;
    assert_eq!(kind(huge | 9 << 4), Kind::Huge);
    for order in [0, 1, 8, 19, 31] {
        assert_eq!(kind(huge | order << 4), Kind::Corrupt, "huge, of order {order}");
    }
    assert_eq!(kind(7), Kind::Corrupt);
}
