//! Two or three CPUs race at one block. Each test begins with all memory allocated, except the frames of the race.

use super::*;
use crate::memory::cache::CAPACITY;
use crate::memory::frames::FreeError;

/// Refill against refill: a frame in each of two words, and a taker for each.
#[test]
fn each_refill_gets_one_of_the_last_frames() {
    check(UNBOUNDED, || {
        let (model, [mut here, there]) = Cpu::all_taken(1);
        here.flush(&[model.frame(0, 3), model.frame(0, 200)]);
        let there = there.on_thread(|cpu| cpu.refill(1));
        assert_eq!(here.refill(1), 1);
        let (there, got) = join(there);
        assert_eq!(got, 1);
        model.end([here, there]);
    });
}

/// The same with three takers, in one word.
#[test]
fn each_of_three_refills_gets_one_of_the_last_frames() {
    check_interleavings(Some(3), || {
        let (model, [mut here, there, beyond]) = Cpu::all_taken(1);
        here.flush(&[model.frame(0, 3), model.frame(0, 4), model.frame(0, 200)]);
        let others = [there, beyond].map(|cpu| cpu.on_thread(|cpu| cpu.refill(1)));
        assert_eq!(here.refill(1), 1);
        let [(there, a), (beyond, b)] = others.map(join);
        assert_eq!((a, b), (1, 1));
        model.end([here, there, beyond]);
    });
}

/// Two refills want more than there is: together they get all.
#[test]
fn refills_that_want_more_than_there_is_get_all_of_it() {
    check(UNBOUNDED, || {
        let (model, [mut here, there]) = Cpu::all_taken(1);
        here.flush(&[model.frame(0, 3), model.frame(0, 4), model.frame(0, 200)]);
        let there = there.on_thread(|cpu| cpu.refill(2));
        let got = here.refill(2);
        let (there, also) = join(there);
        assert_eq!(got + also, 3);
        model.end([here, there]);
    });
}

/// A CPU holds a block, whose last free frame it has taken, and does something while another CPU frees a frame of it.
fn as_a_frame_is_freed(here_does: fn(&mut Cpu)) {
    check(UNBOUNDED, move || {
        let (model, [mut here, there]) = Cpu::all_taken(1);
        here.flush(&[model.frame(0, 3)]);
        assert_eq!(here.refill(1), 1);
        let frame = model.frame(0, 70);
        let there = there.on_thread(move |cpu| cpu.flush(&[frame]));
        here_does(&mut here);
        let (there, ()) = join(there);
        model.end([here, there]);
    });
}

/// Refill against a remote free: the block from which a CPU refills gets a frame back.
#[test]
fn a_frame_freed_on_another_cpu_is_never_lost() {
    as_a_frame_is_freed(|here| assert!(here.refill(2) <= 1));
}

/// Drain against a remote free, of a block of which other frames stay allocated: a search finds the frame.
#[test]
fn a_block_released_while_a_frame_of_it_is_freed_is_found() {
    as_a_frame_is_freed(Cpu::drain);
}

/// The summary: one CPU takes a block's last frame while another gives one back, and a third looks for it.
#[test]
fn a_block_with_free_frames_is_found_again() {
    check(Some(2), || {
        let (model, [mut here, there, beyond]) = Cpu::all_taken(1);
        here.flush(&[model.frame(0, 3)]);
        let frame = model.frame(0, 70);
        let there = there.on_thread(move |cpu| cpu.flush(&[frame]));
        let beyond = beyond.on_thread(|cpu| cpu.refill(1));
        let got = here.refill(1);
        let ((there, ()), (beyond, also)) = (join(there), join(beyond));
        assert!((1..=2).contains(&(got + also)));
        model.end([here, there, beyond]);
    });
}

/// Flush against flush: who frees the last frame of a block sends it to the buddy, once.
#[test]
fn the_last_frames_of_a_block_send_it_to_the_buddy_once() {
    check(UNBOUNDED, || {
        let (model, [here, there]) = Cpu::all_taken(2);
        let rest: Vec<_> = (2..512).map(|index| model.frame(0, index)).collect();
        here.flush(&rest);
        let frame = model.frame(0, 0);
        let there = there.on_thread(move |cpu| cpu.flush(&[frame]));
        here.flush(&[model.frame(0, 1)]);
        let (there, ()) = join(there);
        assert_eq!(model.frames().free_by_order()[9], 512);
        model.end([here, there]);
    });
}

/// Three of them, and both blocks at once: they merge.
#[test]
fn two_blocks_sent_to_the_buddy_at_once_merge() {
    check(Some(3), || {
        let (model, [here, there, beyond]) = Cpu::all_taken(2);
        for block in 0..2 {
            let rest: Vec<_> = (2..512).map(|index| model.frame(block, index)).collect();
            here.flush(&rest);
        }
        let parts = [[(0, 0), (1, 0)], [(1, 1), (0, 1)]];
        let mut parts = parts.map(|part| part.map(|(block, index)| model.frame(block, index))).into_iter();
        let others = [there, beyond].map(|cpu| {
            let part = parts.next().expect("two parts");
            cpu.on_thread(move |cpu| cpu.flush(&part))
        });
        let [(there, ()), (beyond, ())] = others.map(join);
        assert_eq!(model.frames().free_by_order()[10], 1024);
        model.end([here, there, beyond]);
    });
}

/// Drain against a remote free: the block is released and becomes wholly free at once.
#[test]
fn a_block_released_while_its_last_frame_is_freed_goes_to_the_buddy() {
    check(UNBOUNDED, || {
        let (model, [mut here, there]) = Cpu::all_taken(1);
        let rest: Vec<_> = (1..512).map(|index| model.frame(0, index)).collect();
        here.flush(&rest);
        assert_eq!(here.refill(1), 1);
        let mine = model.frame(0, 1);
        assert!(here.model.out[1].load(Ordering::Relaxed), "the lowest of them");
        here.flush(&[mine]);
        let frame = model.frame(0, 0);
        let there = there.on_thread(move |cpu| cpu.flush(&[frame]));
        here.drain();
        let (there, ()) = join(there);
        assert_eq!(model.frames().free_by_order()[9], 512);
        model.end([here, there]);
    });
}

/// Retire against refill: a block that returns to the buddy is found in flight.
#[test]
fn a_block_in_transit_to_the_buddy_is_not_out_of_memory() {
    check(Some(5), || {
        let (model, [here, there]) = Cpu::all_taken(1);
        let rest: Vec<_> = (1..512).map(|index| model.frame(0, index)).collect();
        here.flush(&rest);
        let there = there.on_thread(|cpu| cpu.refill(1));
        here.flush(&[model.frame(0, 0)]);
        let (there, got) = join(there);
        assert_eq!(got, 1);
        model.end([here, there]);
    });
}

/// Steal: memory is short, and a CPU takes from the block that another one holds.
#[test]
fn the_last_frames_of_a_reserved_block_can_be_stolen() {
    check(UNBOUNDED, || {
        let (model, [mut here, there]) = Cpu::all_taken(1);
        here.flush(&[model.frame(0, 3)]);
        assert_eq!(here.refill(1), 1);
        here.flush(&[model.frame(0, 3), model.frame(0, 200)]);
        let there = there.on_thread(|cpu| cpu.refill(1));
        assert_eq!(here.refill(1), 1);
        let (there, got) = join(there);
        assert_eq!(got, 1);
        model.end([here, there]);
    });
}

/// Steal against drain: the holder lets go of what is stolen.
#[test]
fn a_block_is_stolen_from_while_its_cpu_drains() {
    check(UNBOUNDED, || {
        let (model, [mut here, there]) = Cpu::all_taken(1);
        let all: Vec<_> = (0..512).map(|index| model.frame(0, index)).collect();
        here.flush(&all[1..]);
        assert_eq!(here.refill(1), 1);
        here.flush(&[all[0], all[1]]);
        let there = there.on_thread(|cpu| cpu.refill(1));
        here.drain();
        let (there, got) = join(there);
        assert_eq!(got, 1);
        model.end([here, there]);
    });
}

/// One frame, freed on two CPUs at once: one of them gets an error.
#[test]
fn a_frame_freed_twice_at_once_is_freed_once() {
    check(UNBOUNDED, || {
        let (model, [here, there]) = Cpu::all_taken(1);
        let frame = model.frame(0, 9);
        model.give(frame, Order::FRAME);
        let there = there.on_thread(move |cpu| cpu.model.frames().return_singles(&[frame]));
        let mine = here.model.frames().return_singles(&[frame]);
        let (there, theirs) = join(there);
        let twice = Err(FreeError::DoubleFree { frame });
        assert!((mine, theirs) == (Ok(()), twice) || (mine, theirs) == (twice, Ok(())));
        assert_eq!(model.frames().double_frees_caught(), 1);
        model.end([here, there]);
    });
}

/// One block, freed on two CPUs at once, whole or a part of it: one of them gets an error. Each CPU caches it, or has one already and
/// frees to the buddy.
#[test]
fn a_block_freed_twice_at_once_is_freed_once() {
    for (keepers, part) in [(0, 9), (1, 9), (2, 9), (0, 3), (1, 3)] {
        check(UNBOUNDED, move || {
            let part = Order::new(part).expect("an order");
            let model = Model::new(4);
            let (mut here, mut there) = (Cpu::new(&model), Cpu::new(&model));
            let frame = model.frames().alloc_blocks(ANYWHERE, Order::BLOCK).expect("all is free");
            for cpu in [&mut there, &mut here].into_iter().take(keepers) {
                let block = cpu.alloc(Order::BLOCK).expect("most is free");
                cpu.free(block, Order::BLOCK);
            }
            let there =
                there.on_thread(move |cpu| cpu.model.frames().free(&cpu.magazine, frame, Order::BLOCK));
            let mine = model.frames().free(&here.magazine, frame, part);
            let (there, theirs) = join(there);
            match (mine, theirs) {
                (Err(FreeError::DoubleFree { .. }), Ok(())) => {}
                (Ok(()), Err(FreeError::DoubleFree { .. })) => assert_eq!(part, Order::BLOCK),
                (Ok(()), Err(FreeError::WrongOrder { .. })) => {
                    assert_ne!(part, Order::BLOCK);
                    (part.frames()..512).for_each(|index| model.take(frame + index, Order::FRAME));
                }
                both => panic!("{both:?}"),
            }
            model.end([here, there]);
        });
    }
}

/// A full magazine flushes while an empty one refills from the same block.
#[test]
fn a_magazine_flushes_while_another_refills() {
    check(UNBOUNDED, || {
        let (model, [mut here, there]) = Cpu::all_taken(1);
        (0..CAPACITY).for_each(|index| here.free(model.frame(0, index), Order::FRAME));
        there.flush(&[model.frame(0, 200)]);
        let there = there.on_thread(|cpu| cpu.alloc(Order::FRAME).is_some());
        here.free(model.frame(0, CAPACITY), Order::FRAME);
        let (there, got) = join(there);
        assert!(got, "one frame was free all the time");
        model.end([here, there]);
    });
}

/// Two full magazines of frames of one block flush at once.
#[test]
fn two_magazines_flush_at_once() {
    check(UNBOUNDED, || {
        let (model, [mut here, mut there]) = Cpu::all_taken(1);
        // Either has frames of the words that the other one has frames of.
        for index in 0..CAPACITY {
            here.free(model.frame(0, 2 * index), Order::FRAME);
            there.free(model.frame(0, 2 * index + 1), Order::FRAME);
        }
        let frame = model.frame(0, 300);
        let there = there.on_thread(move |cpu| cpu.free(frame, Order::FRAME));
        here.free(model.frame(0, 301), Order::FRAME);
        let (there, ()) = join(there);
        model.end([here, there]);
    });
}

/// A magazine is drained while another refills: what one has had is there for the other, or it is none.
#[test]
fn a_magazine_is_drained_while_another_refills() {
    check(UNBOUNDED, || {
        let (model, [mut here, there]) = Cpu::all_taken(1);
        here.flush(&[model.frame(0, 3), model.frame(0, 70)]);
        let frame = here.alloc(Order::FRAME).expect("two were free");
        here.free(frame, Order::FRAME);
        let there = there.on_thread(|cpu| cpu.alloc(Order::FRAME).is_some());
        here.drain();
        let (mut there, got) = join(there);
        // Both were in the magazine until it was drained; afterwards they are found.
        assert!(got || there.alloc(Order::FRAME).is_some());
        model.end([here, there]);
    });
}

/// The same with a third CPU that frees a frame remotely.
#[test]
fn a_magazine_is_drained_while_another_refills_and_a_third_frees() {
    check(Some(2), || {
        let (model, [mut here, there, beyond]) = Cpu::all_taken(1);
        here.flush(&[model.frame(0, 3), model.frame(0, 70)]);
        let frame = here.alloc(Order::FRAME).expect("two were free");
        here.free(frame, Order::FRAME);
        let there = there.on_thread(|cpu| cpu.alloc(Order::FRAME).is_some());
        let remote = model.frame(0, 71);
        let beyond = beyond.on_thread(move |cpu| cpu.flush(&[remote]));
        here.drain();
        let ((mut there, got), (beyond, ())) = (join(there), join(beyond));
        assert!(got || there.alloc(Order::FRAME).is_some());
        model.end([here, there, beyond]);
    });
}
