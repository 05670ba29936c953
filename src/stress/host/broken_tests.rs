//! Allocators that break the contract in one way each, and what the checks find; and allocators that use its options.

use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::Mutex;

use super::*;
use crate::boot::command_line::Named;
use crate::memory::frames::FreeError;
use crate::stress::allocators::OCTOPOD;
use crate::stress::failure::Failure;

/// The lent frames.
const LENT: [Range<FrameNumber>; 1] = [FrameNumber::new(0x1000)..FrameNumber::new(0x1200)];

/// How an allocator breaks the contract.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Defect {
    None,
    /// It counts frames from 0, not from its first.
    ForgetsFirst,
    /// Runs of two frames and more begin one frame too late.
    Misaligns,
    /// Free frames may be freed.
    AcceptsDoubleFree,
    /// Any frames may be freed that it does not have.
    AcceptsForeignFree,
    /// It has both of these defects, and promises nothing.
    AcceptsAll,
    /// A double free is rejected, and takes a frame out of the pool.
    LosesOther,
    /// One of its frames cannot be freed.
    RejectsFree,
}

/// Allocates runs from a table of its frames, of which each is free or not.
struct Table {
    free: Mutex<Vec<bool>>,
    defect: Defect,
}

impl Table {
    fn new(defect: Defect) -> Table {
        Table { free: Mutex::new(std::vec![true; LENT[0].end - LENT[0].start]), defect }
    }

    /// The number of the frame with index 0.
    fn first(&self) -> usize {
        if self.defect == Defect::ForgetsFirst { 0 } else { LENT[0].start.get() }
    }
}

impl FrameSource for Table {
    fn alloc(&self, _: &mut AllocContext, order: Order) -> Option<FrameNumber> {
        let mut free = self.free.lock().unwrap();
        let begin = usize::from(self.defect == Defect::Misaligns && order > Order::FRAME);
        let run = |index: usize| index..index + order.frames();
        let is_free =
            |index: &usize| free.get(run(*index)).is_some_and(|frames| frames.iter().all(|free| *free));
        let index = (begin..free.len()).step_by(order.frames()).find(is_free)?;
        free[run(index)].fill(false);
        Some(FrameNumber::new(self.first() + index))
    }

    unsafe fn free(&self, _: &mut AllocContext, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        let mut free = self.free.lock().unwrap();
        let index = frame.get().wrapping_sub(self.first());
        let Some(frames) = free.get_mut(index..index.saturating_add(order.frames())) else {
            let is_accepted = matches!(self.defect, Defect::AcceptsForeignFree | Defect::AcceptsAll);
            return if is_accepted { Ok(()) } else { Err(FreeError::NotManaged { frame }) };
        };
        let is_free = frames.iter().any(|free| *free);
        if is_free && self.defect == Defect::LosesOther {
            free[7] = false;
        }
        let is_accepted = matches!(self.defect, Defect::AcceptsDoubleFree | Defect::AcceptsAll);
        if (is_free && !is_accepted) || (self.defect == Defect::RejectsFree && index == 3) {
            return Err(FreeError::DoubleFree { frame });
        }
        free[index..index + order.frames()].fill(true);
        Ok(())
    }

    fn rejects_invalid_frees(&self) -> Option<Order> {
        (self.defect != Defect::AcceptsAll).then_some(Order::FRAME)
    }

    fn drain(&self, _: &mut AllocContext) {}

    fn free_frames(&self) -> usize {
        self.free.lock().unwrap().iter().filter(|free| **free).count()
    }
}

/// One round of a workload on one thread.
fn run_of(workload: &str) -> HostRun<'static> {
    HostRun {
        allocator: &OCTOPOD,
        workload: <&Workload>::from_name(workload).unwrap(),
        threads: 1,
        blocks: 1,
        bound: Bound::Time(Duration::ZERO),
        seed: 7,
        trace: None,
        check_every_frame: false,
        largest_order: Order::MAX,
    }
}

/// The finding of the checks; empty if there is none.
fn finding(workload: &str, defect: Defect) -> std::string::String {
    let outcome = run_of(workload).run_on(LentFrames::new(&LENT), &Table::new(defect));
    outcome
        .verdict
        .err()
        .map(|discrepancy| std::string::ToString::to_string(&discrepancy))
        .unwrap_or_default()
}

#[test]
fn an_allocator_that_keeps_the_contract_passes() {
    for workload in ["pairs", "bulk", "random", "mixed_orders", "storm", "fragmentation", "half_full_pairs"] {
        assert_eq!(finding(workload, Defect::None), "", "{workload}");
    }
}

#[test]
fn a_frame_outside_the_lent_memory_is_found() {
    for (workload, order) in
        [("pairs", "order 0"), ("random", "order "), ("storm", "order 0"), ("half_full_pairs", "order 0")]
    {
        let found = finding(workload, Defect::ForgetsFirst);
        assert!(
            found.starts_with(&std::format!("frame 0x0 was allocated at {order}")),
            "{workload}: {found}"
        );
        let lent = ", outside the memory of the allocator: frames 0x1000 to 0x11ff";
        assert!(found.ends_with(lent), "{workload}: {found}");
    }
}

#[test]
fn a_misaligned_run_is_found() {
    let found = finding("mixed_orders", Defect::Misaligns);
    assert_eq!(found, "frame 0x1001 was allocated at order 1, whose frames are multiples of 0x2");
}

#[test]
fn an_invalid_free_that_is_accepted_is_found_where_it_should_be_rejected() {
    for workload in ["pairs", "mixed_orders"] {
        let found = finding(workload, Defect::AcceptsDoubleFree);
        let free = "the allocator did not reject a free of frame 0x1000 at order 0, which was free already";
        assert_eq!(found, free, "{workload}");
        let found = finding(workload, Defect::AcceptsForeignFree);
        let free = "the allocator did not reject a free of frame 0x1200 at order 0, which the allocator was not lent";
        assert_eq!(found, free, "{workload}");
        assert_eq!(finding(workload, Defect::AcceptsAll), "", "{workload}: it promises nothing");
    }
}

#[test]
fn an_invalid_free_that_changes_what_is_free_is_found() {
    let found = finding("pairs", Defect::LosesOther);
    assert_eq!(found, "1 frames that were free before are not free after");
}

#[test]
fn a_valid_free_that_is_rejected_is_found() {
    for workload in ["bulk", "storm"] {
        let found = finding(workload, Defect::RejectsFree);
        assert_eq!(found, "the allocator rejected a free: frame 0x1003 freed twice", "{workload}");
    }
}

#[test]
fn octopods_own_allocator_promises_to_reject_invalid_frees() {
    let world = World::new(1);
    let source = Hosted::new(&world, 2);
    assert_eq!(source.rejects_invalid_frees(), Order::new(1));
    let outcome = HostRun { blocks: 1, ..run_of("pairs") }.run_on(LentFrames::new(&lent_of(&world)), &source);
    assert_eq!(outcome.verdict, Ok(()));
    assert_eq!(world.frames.double_frees_caught(), 1, "a run was freed twice");
}

/// An allocator of some orders only, which allocates and frees many frames by one call each.
struct Selective {
    table: Table,
    /// The orders, as bits.
    orders: u32,
    calls: AtomicU32,
    bulk_calls: AtomicU32,
}

impl Selective {
    fn new(orders: u32) -> Selective {
        let table = Table::new(Defect::None);
        Selective { table, orders, calls: AtomicU32::new(0), bulk_calls: AtomicU32::new(0) }
    }
}

impl FrameSource for Selective {
    fn supports(&self, order: Order) -> bool {
        self.orders >> order.get() & 1 != 0
    }

    fn alloc(&self, context: &mut AllocContext, order: Order) -> Option<FrameNumber> {
        assert!(self.supports(order), "{order}");
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.table.alloc(context, order)
    }

    unsafe fn free(
        &self,
        context: &mut AllocContext,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError> {
        // SAFETY: the caller must own the frames, guaranteed by the caller (see `FrameSource::free`).
        unsafe { self.table.free(context, frame, order) }
    }

    fn alloc_bulk(&self, context: &mut AllocContext, frames: &mut [FrameNumber]) -> usize {
        self.bulk_calls.fetch_add(1, Ordering::Relaxed);
        let allocated = frames.iter_mut().map_while(|frame| {
            *frame = self.table.alloc(context, Order::FRAME)?;
            Some(())
        });
        allocated.count()
    }

    unsafe fn free_bulk(&self, context: &mut AllocContext, frames: &[FrameNumber]) -> Result<(), FreeError> {
        self.bulk_calls.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller must own the frames, guaranteed by the caller (see `FrameSource::free_bulk`).
        unsafe { self.table.free_bulk(context, frames) }
    }

    fn drain(&self, _: &mut AllocContext) {}

    fn free_frames(&self) -> usize {
        self.table.free_frames()
    }
}

#[test]
fn an_allocator_is_asked_only_for_the_orders_that_it_supports() {
    let on_host = |workload: &&'static Workload| workload.on_host && matches!(workload.run, Body::Frames(_));
    let only = [1 << 3, 1 | 1 << 3, 1 << 0 | 1 << 3 | 1 << 6];
    for (orders, workload) in only
        .into_iter()
        .flat_map(|orders| workloads::defaults().filter(on_host).map(move |one| (orders, one)))
    {
        let source = Selective::new(orders);
        let outcome = run_of(workload.name).run_on(LentFrames::new(&LENT), &source);
        assert_eq!(outcome.verdict, Ok(()), "{workload} with {orders:#b}");
        let figures = outcome.figures;
        if ["random", "mixed_orders"].contains(&workload.name) {
            assert!(figures.unsupported > 0, "{workload} with {orders:#b}: {figures:?}");
        }
        let asks_for_single_frames = !workload.name.starts_with("churn");
        if orders & 1 == 0 && asks_for_single_frames && workload.name != "mixed_orders" {
            assert!(figures.refused == 0 && figures.unsupported > 0, "{workload}: {figures:?}");
        }
    }
}

#[test]
fn bulk_uses_the_calls_for_many_frames() {
    for (workload, is_bulk) in [("bulk", true), ("pairs", false)] {
        let source = Selective::new(1);
        let outcome = run_of(workload).run_on(LentFrames::new(&LENT), &source);
        assert_eq!(outcome.verdict, Ok(()), "{workload}");
        assert_eq!(source.bulk_calls.into_inner() > 0, is_bulk, "{workload}");
        // The frame that is timed is allocated by a call of its own.
        assert!(source.calls.into_inner() > 0, "{workload}");
    }
}

#[test]
fn what_is_refused_or_not_supported_is_no_operation() {
    for workload in ["pairs", "bulk", "random", "remote", "storm", "half_full_pairs", "shuffled_free"] {
        for orders in [1, 1 | 1 << 3] {
            let figures = run_of(workload).run_on(LentFrames::new(&LENT), &Selective::new(orders)).figures;
            assert!(figures.allocations > 0, "{workload}: {figures:?}");
            assert_eq!(figures.operations, 2 * figures.allocations, "{workload}: {figures:?}");
        }
    }
}
