//! Model checking. The races at one block ([`block_races`]), those over [runs](run_races), those of the [`reclaimable`] estimate
//! and those of the [`summaries`] are small enough for loom, which tries every interleaving. shuttle tries random interleavings
//! of these, and of whole [`storms`].
//!
//! `cargo run -- soak loom` and `cargo run -- soak shuttle` run them, and report the number of executions.

mod block_races;
mod reclaimable;
mod run_races;
#[cfg(shuttle)]
mod storms;
mod summaries;

use crate::memory::cache::Magazine;
use crate::memory::frames::atomic_frame::AtomicFrame;
use crate::memory::frames::number::BlockNumber;
use crate::memory::frames::search::Extent;
use crate::memory::frames::state::Kind;
use crate::memory::frames::zone::Scope;
use crate::memory::frames::{FrameNumber, Frames, NodeId, Order};
use crate::memory::host::World;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::vec::Vec;

#[cfg(loom)]
use crate::sync::model_atomics::{Accesses, explore};
#[cfg(shuttle)]
use crate::sync::model_schedules::{run_schedules, schedules};
#[cfg(loom)]
use loom::thread;
#[cfg(shuttle)]
use shuttle::thread;

/// All memory.
const ANYWHERE: Scope = Scope::from(NodeId(0));

/// Every interleaving there is. Else a model says how many preemptions it is bounded to.
const UNBOUNDED: Option<usize> = None;

/// Runs a model in every interleaving with so many preemptions at most.
#[cfg(loom)]
fn check(preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    explore(preemptions, &[Accesses::Exchanges, Accesses::Plain], with_enough_stack(model));
}

/// The same where nothing old is seen: for a model of which one thread looks at plain memory of another's, or in which there
/// would be too much of it to see.
#[cfg(loom)]
fn check_interleavings(preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    explore(preemptions, &[Accesses::Exchanges], with_enough_stack(model));
}

/// The stack of a model's first thread, in words. That of loom's own first thread has 32 KiB, which the deepest calls exceed.
#[cfg(loom)]
const STACK: usize = 0x4000;

/// The model on a thread that has enough stack. The first thread waits for it and does nothing else.
#[cfg(loom)]
fn with_enough_stack(model: impl Fn() + Sync + Send + 'static) -> impl Fn() + Sync + Send + 'static {
    let model = Arc::new(model);
    move || {
        let model = Arc::clone(&model);
        let thread = thread::Builder::new().stack_size(STACK).spawn(move || model());
        thread.expect("a thread of a model").join().expect("the model has not panicked");
    }
}

/// Random interleavings overlook nothing.
#[cfg(shuttle)]
use check as check_interleavings;

/// Runs a model in random interleavings: of the storms as many as `SHUTTLE_SCHEDULES` says, a tenth for the small models,
/// which have few.
#[cfg(shuttle)]
fn check(preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let _ = preemptions;
    run_schedules(schedules().div_ceil(10), model);
}

/// A world, and who has what of it.
struct Model {
    world: World,
    /// For each frame, whether it is out. No atomics of the checker's: they add nothing to interleave.
    out: Vec<AtomicBool>,
}

impl Model {
    /// All memory free, in so many blocks.
    fn new(blocks: usize) -> Arc<Model> {
        Model::of(World::new(blocks))
    }

    fn of(world: World) -> Arc<Model> {
        let out = (0..world.len).map(|_| AtomicBool::new(false)).collect();
        Arc::new(Model { world, out })
    }

    fn frames(&self) -> &Frames {
        &self.world.frames
    }

    /// A frame of a block, by its index there.
    fn frame(&self, block: usize, index: usize) -> FrameNumber {
        self.world.first + (block * 512 + index)
    }

    fn take(&self, frame: FrameNumber, order: Order) {
        assert!(frame.is_aligned_to(order));
        let first = self.world.index(frame);
        for out in &self.out[first..first + order.frames()] {
            assert!(!out.swap(true, Ordering::Relaxed), "{frame} at {order} was allocated twice");
        }
    }

    fn give(&self, frame: FrameNumber, order: Order) {
        let first = self.world.index(frame);
        for out in &self.out[first..first + order.frames()] {
            assert!(out.swap(false, Ordering::Relaxed), "{frame} at {order} was not out");
        }
    }

    /// The summary is right while no CPU changes it: it has all blocks with free frames that no magazine holds.
    fn assert_searches_find_all_blocks(&self) {
        let table = &self.frames().table;
        for block in BlockNumber::each(table.all()) {
            let state = table.state(block);
            if state.kind() != Kind::Frames || !state.is_offered() {
                continue;
            }
            for order in (0..=table.bitmap(block).largest().get()).filter_map(Order::new) {
                let is_found = table.candidates(table.all(), order).any(|found| found == block);
                assert!(is_found, "{block:?} is hidden at {order}: {state:?}");
            }
        }
    }

    /// The end of an execution, after the end of all threads: the allocator's counts agree with the marks. When all frames are freed,
    /// memory is as whole as before.
    fn end<const CPUS: usize>(&self, mut cpus: [Cpu; CPUS]) {
        assert_eq!(self.frames().validate(), Ok(()));
        self.assert_searches_find_all_blocks();
        let out = |range: core::ops::Range<usize>| {
            self.out[range].iter().filter(|out| out.load(Ordering::Relaxed)).count()
        };
        let at_hand: usize = cpus.iter().map(|cpu| cpu.magazine.cached_frames()).sum();
        assert_eq!(self.frames().free_frames() + at_hand + out(0..self.world.len), self.world.len, "lost");
        for block in 0..self.world.len / 512 {
            let frames: Vec<_> = (0..512)
                .map(|index| self.frame(block, index))
                .filter(|frame| self.out[self.world.index(*frame)].swap(false, Ordering::Relaxed))
                .collect();
            assert_eq!(self.frames().return_singles(&frames), Ok(()));
        }
        cpus.iter_mut().for_each(Cpu::drain);
        // All in one piece of each order that the number of blocks has.
        let whole = core::array::from_fn(|order| self.world.len & (1 << order));
        self.world.assert_as_before(whole);
        // The counts agree; the buddy must agree as well.
        let order = Order::new(self.world.len.ilog2() as u8).expect("an order");
        assert_eq!(self.frames().alloc_blocks(ANYWHERE, order), Some(self.world.first), "not merged");
    }
}

/// A CPU, on a thread.
struct Cpu {
    model: Arc<Model>,
    magazine: Magazine,
}

impl Cpu {
    fn new(model: &Arc<Model>) -> Cpu {
        Cpu { model: model.clone(), magazine: Magazine::new() }
    }

    /// So many CPUs of a new model of so many blocks, all of whose frames are out, none of whose blocks is held.
    fn all_taken<const CPUS: usize>(blocks: usize) -> (Arc<Model>, [Cpu; CPUS]) {
        let model = Model::new(blocks);
        let cpus = core::array::from_fn(|_| Cpu::new(&model));
        let mut first = Cpu::new(&model);
        for _ in 0..blocks {
            assert_eq!(first.refill(512), 512);
        }
        first.drain();
        (model, cpus)
    }

    /// Takes up to so many single frames from the table, as a refill does; how many.
    fn refill(&mut self, count: usize) -> usize {
        let mut frames = std::vec![FrameNumber::new(0); count];
        let got = self.model.frames().take_singles(
            &self.magazine.hint,
            AtomicFrame::from_mut(&mut frames),
            Extent::All,
        );
        frames[..got].iter().for_each(|frame| self.model.take(*frame, Order::FRAME));
        got
    }

    /// Returns single frames to the table, as a flush does, also of another CPU's.
    fn flush(&self, frames: &[FrameNumber]) {
        frames.iter().for_each(|frame| self.model.give(*frame, Order::FRAME));
        assert_eq!(self.model.frames().return_singles(frames), Ok(()));
    }

    fn alloc(&mut self, order: Order) -> Option<FrameNumber> {
        let frame = self.model.frames().alloc(&self.magazine, order)?;
        self.model.take(frame, order);
        Some(frame)
    }

    fn free(&mut self, frame: FrameNumber, order: Order) {
        self.model.give(frame, order);
        assert_eq!(self.model.frames().free(&self.magazine, frame, order), Ok(()));
    }

    fn drain(&mut self) {
        assert_eq!(self.model.frames().drain(&self.magazine), Ok(()));
    }

    /// Does something on a thread of its own.
    fn on_thread<T: Send + 'static>(
        mut self,
        work: impl FnOnce(&mut Cpu) -> T + Send + 'static,
    ) -> thread::JoinHandle<(Cpu, T)> {
        thread::spawn(move || {
            let result = work(&mut self);
            (self, result)
        })
    }
}

/// Ends a thread.
fn join<T>(thread: thread::JoinHandle<(Cpu, T)>) -> (Cpu, T) {
    thread.join().expect("the thread has not panicked")
}
