//! Races over more than single frames: runs, blocks that were allocated whole, blocks managed in part.

use super::super::order;
use super::*;
#[cfg(loom)]
use crate::memory::frames::state::State;

/// Two frames that are no run: a search that reserves and releases them does not hide them from a search for any frame.
#[test]
fn frames_reserved_and_released_are_not_out_of_memory() {
    check(Some(4), || {
        let (model, [mut here, there]) = Cpu::all_taken(1);
        here.flush(&[model.frame(0, 1)]);
        assert_eq!(here.refill(1), 1);
        here.flush(&[model.frame(0, 1), model.frame(0, 130)]);
        let there = there.on_thread(|cpu| cpu.refill(1));
        assert_eq!(here.model.frames().find_many(&here.magazine.hint, order(1), Extent::All), None);
        let (there, got) = join(there);
        assert_eq!(got, 1);
        model.end([here, there]);
    });
}

/// A run over two words, while a frame of it is allocated and freed: it is found whole or not at all.
#[test]
fn a_run_over_words_is_taken_whole_or_not_at_all() {
    check(Some(4), || {
        let (model, [here, there]) = Cpu::all_taken(1);
        // One more than the run: what is reserved for it does not keep others from its frames.
        let free: Vec<_> = (128..256).chain([300]).map(|index| model.frame(0, index)).collect();
        here.flush(&free);
        // The frame comes from the second word, when the first may have been taken for the run.
        there.magazine.hint.reserved(Order::FRAME).word.set(3);
        let there = there.on_thread(|cpu| {
            if cpu.refill(1) == 1 {
                let taken = cpu.model.out.iter().enumerate().skip(128).take(128);
                let only = taken.filter(|(_, out)| out.load(Ordering::Relaxed)).count();
                assert!(only == 1 || only == 128 || only == 0 || only == 129, "{only}");
            }
        });
        let run = here.model.frames().find_many(&here.magazine.hint, order(7), Extent::All);
        if let Some(frame) = run {
            here.model.take(frame, order(7));
        }
        let (there, ()) = join(there);
        model.end([here, there]);
    });
}

/// Parts of a block that was allocated whole, freed on two CPUs at once: it is split once.
#[test]
fn a_huge_block_is_split_once() {
    check(UNBOUNDED, || {
        let model = Model::new(2);
        let [mut here, there] = core::array::from_fn(|_| Cpu::new(&model));
        let start = here.alloc(order(10)).expect("all is free");
        let there = there.on_thread(move |cpu| cpu.flush(&[start + 1]));
        here.flush(&[start]);
        let (there, ()) = join(there);
        model.end([here, there]);
    });
}

/// One CPU frees a frame of it, another one the half that this frame does not lie in, the third a run beside the frame.
#[test]
fn a_huge_block_is_split_while_parts_of_it_are_freed() {
    check(Some(3), || {
        let model = Model::new(2);
        let [mut here, there, beyond] = core::array::from_fn(|_| Cpu::new(&model));
        let start = here.alloc(order(10)).expect("all is free");
        // Until it is split, a half is not a part that `free` takes; freed frame by frame it always is.
        let there = there.on_thread(move |cpu| cpu.flush(&[start + 512]));
        let beyond = beyond.on_thread(move |cpu| cpu.free(start + 64, order(6)));
        here.flush(&[start]);
        let ((there, ()), (beyond, ())) = (join(there), join(beyond));
        model.end([here, there, beyond]);
    });
}

/// Two halves of a larger piece go back to the buddy at once, and merge.
#[test]
fn blocks_freed_at_once_merge() {
    check(UNBOUNDED, || {
        let model = Model::new(2);
        let [mut here, there] = core::array::from_fn(|_| Cpu::new(&model));
        let one = here.alloc(order(9)).expect("all is free");
        let other = here.alloc(order(9)).expect("half is free");
        let there = there.on_thread(move |cpu| {
            cpu.free(other, order(9));
            cpu.drain();
        });
        here.free(one, order(9));
        here.drain();
        let (there, ()) = join(there);
        assert_eq!(model.frames().free_by_order()[10], 1024);
        model.end([here, there]);
    });
}

/// A block, freed whole on two CPUs at once: one of them caches it, the other gets an error.
#[test]
fn a_block_freed_twice_at_once_is_cached_once() {
    check(UNBOUNDED, || {
        let model = Model::new(1);
        let [mut here, there] = core::array::from_fn(|_| Cpu::new(&model));
        let block = here.alloc(order(9)).expect("all is free");
        model.give(block, order(9));
        let free = move |cpu: &mut Cpu| cpu.model.frames().free(&cpu.magazine, block, order(9));
        let there = there.on_thread(free);
        let mine = free(&mut here);
        let (there, theirs) = join(there);
        assert!(mine.is_ok() != theirs.is_ok(), "{mine:?} {theirs:?}");
        model.end([here, there]);
    });
}

/// A block freed whole while a frame of it is freed as well: it is kept, or opened up, but never both.
#[test]
fn a_block_and_a_frame_of_it_freed_at_once_are_counted_once() {
    check(UNBOUNDED, || {
        let model = Model::new(1);
        let [mut here, there] = core::array::from_fn(|_| Cpu::new(&model));
        let block = here.alloc(order(9)).expect("all is free");
        model.give(block, order(9));
        let there = there.on_thread(move |cpu| cpu.model.frames().return_singles(&[block + 7]));
        let whole = here.model.frames().free(&here.magazine, block, order(9));
        let (there, single) = join(there);
        assert!(whole.is_ok() != single.is_ok(), "{whole:?} {single:?}");
        if single.is_ok() {
            // The rest is still out.
            (0..512).filter(|&index| index != 7).for_each(|index| model.take(block + index, Order::FRAME));
        }
        model.end([here, there]);
    });
}

/// The last block is kept by one CPU, which drains while another looks for it.
#[test]
fn a_cached_block_is_drained_while_another_cpu_searches() {
    check(UNBOUNDED, || {
        let model = Model::new(1);
        let [mut here, there] = core::array::from_fn(|_| Cpu::new(&model));
        let block = here.alloc(order(9)).expect("all is free");
        here.free(block, order(9));
        let there = there.on_thread(|cpu| cpu.alloc(order(9)).is_some());
        here.drain();
        let (mut there, got) = join(there);
        assert!(got || there.alloc(order(9)).is_some(), "it is free and found");
        model.end([here, there]);
    });
}

/// A run and a frame of it, freed at once: the frame is counted once, whichever free is first.
#[test]
fn a_run_and_a_frame_of_it_freed_at_once_are_counted_once() {
    check(UNBOUNDED, || {
        let (model, [here, there]) = Cpu::all_taken(1);
        let run = model.frame(0, 8);
        model.give(run, order(2));
        let there = there.on_thread(move |cpu| cpu.model.frames().return_singles(&[run + 1]));
        let whole = here.model.frames().return_run(run, order(2));
        let (there, single) = join(there);
        assert!(whole.is_err() != single.is_err(), "{whole:?} {single:?}");
        // Where the run came second, none of it was freed: the other three are still out.
        let free = model.frames().free_frames();
        assert_eq!(free, if whole.is_ok() { 4 } else { 1 });
        if whole.is_err() {
            for index in [0, 2, 3] {
                model.take(run + index, Order::FRAME);
            }
        }
        model.end([here, there]);
    });
}

/// Frames that another CPU has in flight are distinguished from missing frames. That needs no thread, which shuttle would refuse; but
/// only a model gives up soon.
#[cfg(loom)]
#[test]
fn a_failed_search_names_the_block_in_flight() {
    check(UNBOUNDED, || {
        let (model, [mut cpu]) = Cpu::all_taken(2);
        let second = model.frame(1, 0);
        let table = &model.frames().table;
        let mut search = |order| {
            assert_eq!(cpu.alloc(order), None);
            cpu.magazine.in_flight()
        };
        assert_eq!(search(Order::FRAME), None);
        // A block between table and buddy.
        let before = table.state(second.block());
        table.set(second.block(), State::transit(Order::BLOCK));
        assert_eq!(search(Order::FRAME), Some(second));
        assert_eq!(search(order(3)), Some(second));
        table.set(second.block(), before);
        assert_eq!(search(order(3)), None);
        // Frames whose bits are set, and which are not counted yet.
        let bitmap = table.bitmap(second.block());
        bitmap.set(3, 0b1010);
        assert_eq!(search(Order::FRAME), Some(second));
        assert_eq!(search(order(1)), None);
        bitmap.set(3, 0b1111);
        assert_eq!(search(order(2)), Some(second));
        bitmap.reset_to_free_from(512);
        model.end([cpu]);
    });
}

/// A search for a run lowers the largest order of a block, because a frame of the last run is allocated. Meanwhile that frame is freed.
#[test]
fn a_run_that_is_complete_again_as_a_search_misses_it_is_marked() {
    check(Some(4), || {
        let (model, [mut here, there]) = Cpu::all_taken(1);
        here.flush(&[model.frame(0, 2), model.frame(0, 3)]);
        assert_eq!(here.refill(1), 1);
        here.drain();
        let taken = [2, 3].map(|index| model.frame(0, index));
        let taken =
            taken.into_iter().find(|frame| model.out[model.world.index(*frame)].load(Ordering::Relaxed));
        let taken = taken.expect("one of the two was allocated");
        let there = there.on_thread(move |cpu| cpu.flush(&[taken]));
        if let Some(run) = model.frames().find_many(&here.magazine.hint, order(1), Extent::Marked) {
            model.take(run, order(1));
        }
        let (there, ()) = join(there);
        here.drain();
        model.end([here, there]);
    });
}
