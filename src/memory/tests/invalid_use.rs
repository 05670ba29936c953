//! Invalid calls: each returns its error, and damages nothing.

use super::{World, order};
use crate::memory::cache::Magazine;
use crate::memory::frames::{FRAMES_PER_BLOCK, FrameNumber, Frames, FreeError, Order};
use std::vec::Vec;

#[test]
fn a_double_free_in_the_magazine_is_caught_in_debug_builds() {
    if !cfg!(debug_assertions) {
        return;
    }
    let world = World::new(2);
    let magazine = Magazine::new();
    let frame = world.frames.alloc(&magazine, Order::FRAME).expect("there is memory");
    assert_eq!(world.frames.free(&magazine, frame, Order::FRAME), Ok(()));
    let len = magazine.len();
    assert_eq!(world.frames.free(&magazine, frame, Order::FRAME), Err(FreeError::DoubleFree { frame }));
    assert_eq!(magazine.len(), len);
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    // Now it is in the buddy.
    assert_eq!(world.frames.free(&magazine, frame, Order::FRAME), Err(FreeError::DoubleFree { frame }));
    // Now it is free by its bit: the next one holds the block in the table.
    let other = world.frames.alloc(&magazine, order(1)).expect("there is memory");
    assert_eq!(
        world.frames.free(&magazine, other + 2, Order::FRAME),
        Err(FreeError::DoubleFree { frame: other + 2 })
    );
    assert_eq!(world.frames.double_frees_caught(), 3);
    assert_eq!(
        world.frames.free_bulk(&magazine, &[other, other, other + 1]),
        Err(FreeError::DoubleFree { frame: other })
    );
}

/// Frames get back to the table in every build; here they are pushed past the check of checked builds.
#[test]
fn a_double_free_in_one_batch_is_caught() {
    let world = World::new(4);
    let before = world.frames.free_by_order();
    let magazine = Magazine::new();
    let mut taken = world.take_everything(&magazine);
    let doubled = [taken[3], taken[700], taken[700]];
    taken.extend(doubled);
    let result = world.frames.return_singles(&taken);
    assert!(matches!(result, Err(FreeError::DoubleFree { frame }) if doubled.contains(&frame)), "{result:?}");
    assert_eq!(world.frames.double_frees_caught(), 3);
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    world.assert_as_before(before);
}

#[test]
fn a_frame_twice_in_a_row_is_caught() {
    let world = World::new(1);
    let before = world.frames.free_by_order();
    let magazine = Magazine::new();
    let mut run: Vec<FrameNumber> =
        (0..8).filter_map(|_| world.frames.alloc(&magazine, Order::FRAME)).collect();
    run.insert(4, run[2]);
    run.push(run[2]);
    assert_eq!(world.frames.return_singles(&run), Err(FreeError::DoubleFree { frame: run[2] }));
    assert_eq!(world.frames.double_frees_caught(), 2);
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    world.assert_as_before(before);
}

#[test]
fn a_flush_names_the_frame_and_frees_the_others() {
    let world = World::new(2);
    let magazine = Magazine::new();
    let other = Magazine::new();
    let mut taken = world.take_everything(&magazine);
    let doubled = taken[10];
    assert_eq!(world.frames.return_singles(&taken[..20]), Ok(()));
    // The other CPU has the frame in its magazine a second time.
    assert_eq!(other.push(doubled), Ok(()));
    let mut errors = Vec::new();
    for frame in taken.drain(20..) {
        errors.extend(world.frames.free(&other, frame, Order::FRAME).err());
    }
    assert_eq!(errors, [FreeError::DoubleFree { frame: doubled }]);
    assert_eq!(world.frames.drain(&other), Ok(()));
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    assert_eq!(world.frames.validate(), Ok(()));
    assert_eq!(world.frames.free_by_order()[10], 1024);
}

#[test]
fn foreign_frames_are_refused_at_every_order() {
    let world = World::empty(8);
    assert_eq!(world.insert(512 + 64..3 * 512), Ok(960));
    let before = world.frames.free_by_order();
    let magazine = Magazine::new();
    let far = FrameNumber::new(1 << 40);
    for frame in [world.first, world.first + 6 * 512, world.frames.end(), far] {
        assert_eq!(world.frames.return_singles(&[frame]), Err(FreeError::NotManaged { frame }));
        for number in [1, 3, 8, 9] {
            assert_eq!(
                world.frames.free(&magazine, frame, order(number)),
                Err(FreeError::NotManaged { frame })
            );
        }
        if cfg!(debug_assertions) {
            assert_eq!(
                world.frames.free(&magazine, frame, Order::FRAME),
                Err(FreeError::NotManaged { frame })
            );
        }
    }
    // In a block of which other frames are managed.
    let frame = world.first + 512 + 32;
    assert_eq!(world.frames.return_singles(&[frame]), Err(FreeError::NotManaged { frame }));
    if Frames::CHECKS_EACH_FREE {
        assert_eq!(world.frames.free(&magazine, frame, Order::FRAME), Err(FreeError::NotManaged { frame }));
    }
    assert_eq!(world.frames.free(&magazine, frame, order(5)), Err(FreeError::NotManaged { frame }));
    let taken = world.take_everything(&magazine);
    assert_eq!(world.frames.return_singles(&[frame]), Err(FreeError::NotManaged { frame }));
    assert_eq!(
        world.frames.free(&magazine, world.first + 512, order(7)),
        Err(FreeError::NotManaged { frame: world.first + 512 })
    );
    assert_eq!(world.frames.free_bulk(&magazine, &taken), Ok(()));
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    world.assert_as_before(before);
    assert_eq!(world.frames.double_frees_caught(), 0);
}

#[test]
fn misaligned_runs_are_refused() {
    let world = World::new(4);
    let magazine = Magazine::new();
    for number in [1, 4, 8, 9, 10] {
        let frame = world.frames.alloc(&magazine, order(number)).expect("there is memory");
        let wrong = frame + order(number).frames() / 2;
        assert_eq!(
            world.frames.free(&magazine, wrong, order(number)),
            Err(FreeError::Misaligned { frame: wrong, order: order(number) })
        );
        assert_eq!(world.frames.free(&magazine, frame, order(number)), Ok(()));
    }
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    world.assert_as_before(World::new(4).frames.free_by_order());
}

#[test]
fn runs_freed_twice_are_refused_whole() {
    let world = World::new(4);
    let before = world.frames.free_by_order();
    let magazine = Magazine::new();
    for number in [1, 3, 6, 7, 8] {
        let keep = world.frames.alloc(&magazine, order(number)).expect("there is memory");
        let frame = world.frames.alloc(&magazine, order(number)).expect("there is memory");
        assert_eq!(world.frames.free(&magazine, frame, order(number)), Ok(()));
        assert_eq!(world.frames.free(&magazine, frame, order(number)), Err(FreeError::DoubleFree { frame }));
        // Too large an order: its second half is free already, and not only to this CPU, which is caught in every build.
        assert_eq!(world.frames.drain(&magazine), Ok(()));
        let pair = frame.min(keep);
        if number < 8 && pair.is_aligned_to(order(number + 1)) && frame - pair == order(number).frames() {
            let free = world.frames.free_frames();
            assert_eq!(
                world.frames.free(&magazine, keep, order(number + 1)),
                Err(FreeError::DoubleFree { frame })
            );
            assert_eq!(world.frames.free_frames(), free, "nothing of it was freed");
        }
        assert_eq!(world.frames.free(&magazine, keep, order(number)), Ok(()));
    }
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    world.assert_as_before(before);
}

#[test]
fn blocks_freed_twice_or_at_the_wrong_order_are_refused() {
    let world = World::new(16);
    let before = world.frames.free_by_order();
    let magazine = Magazine::new();
    let frame = world.frames.alloc(&magazine, order(10)).expect("there is memory");
    assert_eq!(frame, world.first);
    assert_eq!(
        world.frames.free(&magazine, frame, order(11)),
        Err(FreeError::WrongOrder { frame, given: order(11), at_most: order(10) })
    );
    assert_eq!(world.frames.free(&magazine, frame, order(10)), Ok(()));
    assert_eq!(world.frames.free(&magazine, frame, order(10)), Err(FreeError::DoubleFree { frame }));
    assert_eq!(world.frames.free(&magazine, frame, order(9)), Err(FreeError::DoubleFree { frame }));
    assert_eq!(world.frames.free(&magazine, frame, order(3)), Err(FreeError::DoubleFree { frame }));
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    world.assert_as_before(before);

    let small = world.frames.alloc(&magazine, order(4)).expect("there is memory");
    let block = FrameNumber::new(small.get() & !(FRAMES_PER_BLOCK - 1));
    assert_eq!(
        world.frames.free(&magazine, block, order(9)),
        Err(FreeError::WrongOrder { frame: block, given: order(9), at_most: order(8) })
    );
    assert_eq!(world.frames.free(&magazine, small, order(4)), Ok(()));
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    world.assert_as_before(before);
}

#[test]
fn parts_of_a_larger_block_can_be_freed_in_any_way() {
    let world = World::new(16);
    let before = world.frames.free_by_order();
    let magazine = Magazine::new();
    for number in [9, 10, 11, 13] {
        let start = world.frames.alloc(&magazine, order(number)).expect("there is memory");
        let mut at = start;
        let end = start + order(number).frames();
        // Every order that fits, up to one that changes from step to step.
        let mut step = 0u32;
        while at < end {
            step += 1;
            let wish = (step * 5 % 13) as u8;
            let fits = |number: &u8| at.is_aligned_to(order(*number)) && at + order(*number).frames() <= end;
            let part = (0..=wish).rev().find(fits).map(order).expect("order 0 fits");
            assert_eq!(world.frames.free(&magazine, at, part), Ok(()), "{at} {part}");
            if part != Order::FRAME || Frames::CHECKS_EACH_FREE {
                assert!(world.frames.free(&magazine, at, part).is_err(), "{at} {part} was freed twice");
            }
            at = at + part.frames();
            if step.is_multiple_of(16) {
                assert_eq!(world.frames.validate(), Ok(()));
            }
        }
        assert_eq!(world.frames.drain(&magazine), Ok(()));
        world.assert_as_before(before);
    }
}

#[test]
fn the_rest_of_a_split_block_keeps_its_largest_orders() {
    let world = World::new(16);
    let magazine = Magazine::new();
    let start = world.frames.alloc(&magazine, order(13)).expect("there is memory");
    // The sixth block of sixteen: left are 0–3, 4, 6–7, 8–15.
    assert_eq!(world.frames.free(&magazine, start + 5 * 512, order(9)), Ok(()));
    assert_eq!(world.frames.validate(), Ok(()));
    for (block, at_most) in [(0, 11), (4, 9), (6, 10), (8, 12)] {
        let frame = start + block * 512;
        if frame.is_aligned_to(order(at_most + 1)) {
            assert_eq!(
                world.frames.free(&magazine, frame, order(at_most + 1)),
                Err(FreeError::WrongOrder { frame, given: order(at_most + 1), at_most: order(at_most) })
            );
        }
        assert_eq!(world.frames.free(&magazine, frame, order(at_most)), Ok(()));
    }
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    assert_eq!(world.frames.free_by_order()[13], 16 * 512);
}
