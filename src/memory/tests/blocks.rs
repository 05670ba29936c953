//! Random sequences on runs of whole blocks, in zones with any borders, against a set of free blocks.

use super::{World, order};
use crate::memory::frames::block_bits::order_at;
use crate::memory::frames::zone::Scope;
use crate::memory::frames::{
    FRAMES_PER_BLOCK, FrameNumber, FreeError, Invalid, NodeId, ORDERS, Order, SetZonesError, ZoneLayout,
};
use core::ops::Range;
use proptest::prelude::*;
use std::vec::Vec;

const BLOCKS: usize = 3 * 512 + 100;
const NODES: usize = 3;
/// Orders from 9 up.
const RUN_ORDERS: usize = 10;

/// Nodes take turns at these blocks.
fn layout(borders: &[usize]) -> ZoneLayout {
    let mut starts = borders.to_vec();
    starts.push(0);
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).copied().chain([BLOCKS]);
    let at = |block: usize| FrameNumber::new(block * FRAMES_PER_BLOCK);
    let ranges = starts
        .iter()
        .zip(ends)
        .enumerate()
        .map(|(turn, (&start, end))| (at(start)..at(end), NodeId((turn % NODES) as u8)));
    let mut zone_layout = ZoneLayout::empty();
    zone_layout.fill_with(at(BLOCKS), NODES, ranges, |_, _| 10, at(700)).expect("a layout");
    zone_layout
}

struct Model {
    world: World,
    free: Vec<bool>,
    /// The zone of each block.
    zones: Vec<usize>,
    out: Vec<(usize, Order)>,
}

impl Model {
    fn new(borders: &[usize]) -> Model {
        let world = World::sparse(BLOCKS);
        world.set_zones(layout(borders)).expect("nothing is allocated, and there are few borders");
        let zones = world.frames.zone_layout().expect("it is set");
        let zones = (0..BLOCKS).map(|block| zones.zone_of(block_at(block).block())).collect();
        Model { world, free: std::vec![true; BLOCKS], zones, out: Vec::new() }
    }

    /// Whether a run is free, and in one zone.
    fn is_run(&self, blocks: Range<usize>) -> bool {
        blocks.end <= BLOCKS
            && self.free[blocks.clone()].iter().all(|&is_free| is_free)
            && self.zones[blocks.clone()].iter().all(|&zone| zone == self.zones[blocks.start])
    }

    fn has_run(&self, order: Order) -> bool {
        (0..BLOCKS).step_by(order.blocks()).any(|first| self.is_run(first..first + order.blocks()))
    }

    /// The free frames by the largest order of a run that they are in.
    fn by_order(&self) -> [usize; ORDERS] {
        let mut by_order = [0; ORDERS];
        let mut block = 0;
        while block < BLOCKS {
            let is_free = |order: &Order| {
                block.is_multiple_of(order.blocks()) && self.is_run(block..block + order.blocks())
            };
            let largest = (0..RUN_ORDERS).map(order_at).rfind(is_free);
            if let Some(order) = largest {
                by_order[usize::from(order.get())] += order.frames();
            }
            block += largest.map_or(1, Order::blocks);
        }
        by_order
    }

    fn take(&mut self, node: usize, order: Order) {
        let found = self.world.frames.alloc_blocks(Scope::from(NodeId(node as u8)), order);
        assert_eq!(found.is_some(), self.has_run(order), "{order}");
        if let Some(frame) = found {
            let first = frame.block().0;
            assert!(
                frame.is_aligned_to(order) && self.is_run(first..first + order.blocks()),
                "{frame} {order}"
            );
            self.free[first..first + order.blocks()].fill(false);
            self.out.push((first, order));
        }
    }

    /// Frees a part of an allocation. The rest becomes allocations of the largest orders.
    fn free(&mut self, which: usize, part: usize, at: usize) {
        if self.out.is_empty() {
            return;
        }
        let (head, whole) = self.out.swap_remove(which % self.out.len());
        let order = order_at(part.min(usize::from(whole.get() - Order::BLOCK.get())));
        let first = head + at % (whole.blocks() / order.blocks()) * order.blocks();
        let mut rest = (head, whole);
        while rest.1 > order {
            let half = order_at(usize::from(rest.1.get() - Order::BLOCK.get()) - 1);
            let upper = rest.0 + half.blocks();
            let (kept, other) = if first < upper { (rest.0, upper) } else { (upper, rest.0) };
            self.out.push((other, half));
            rest = (kept, half);
        }
        let frame = block_at(first);
        assert_eq!(self.world.frames.free_blocks_to_buddy(frame, order), Ok(()), "{frame} {order}");
        self.free[first..first + order.blocks()].fill(true);
        assert_eq!(
            self.world.frames.free_blocks_to_buddy(frame, order),
            Err(FreeError::DoubleFree { frame }),
            "{order}"
        );
    }

    fn check(&self) {
        assert_eq!(self.world.frames.validate(), Ok::<(), Invalid>(()));
        assert_eq!(self.world.frames.free_by_order(), self.by_order());
        let free = self.free.iter().filter(|&&is_free| is_free).count();
        assert_eq!(self.world.frames.free_frames(), free * FRAMES_PER_BLOCK);
    }
}

fn block_at(block: usize) -> FrameNumber {
    FrameNumber::new(block * FRAMES_PER_BLOCK)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_runs_agree_with_a_set_of_free_blocks(
        borders in prop::collection::vec(prop_oneof![1..BLOCKS, (1..3_usize).prop_map(|it| it * 512)], 0..6),
        steps in prop::collection::vec(
            (0..NODES, 0..RUN_ORDERS, any::<bool>(), any::<usize>(), any::<usize>()), 1..80,
        ),
    ) {
        let mut model = Model::new(&borders);
        model.check();
        for (node, index, takes, which, at) in steps {
            if takes { model.take(node, order_at(index)) } else { model.free(which, index, at) }
        }
        model.check();
        for index in (0..RUN_ORDERS).rev() {
            while model.has_run(order_at(index)) {
                model.take(0, order_at(index));
            }
        }
        assert!(!model.free.contains(&true));
        model.check();
        for which in (0..model.out.len()).rev() {
            model.free(which * 7919, RUN_ORDERS, 0);
        }
        model.check();
    }
}

/// More borders than the metadata has room for: the memory stays one zone.
#[test]
fn zones_with_too_many_borders_are_refused() {
    let world = World::sparse(64);
    let at = |block: usize| FrameNumber::new(block * FRAMES_PER_BLOCK);
    let ranges = (0..32).map(|turn| (at(2 * turn)..at(2 * turn + 2), NodeId((turn % 2) as u8)));
    let mut zone_layout = ZoneLayout::empty();
    zone_layout.fill_with(at(64), 2, ranges, |_, _| 10, at(1 << 20)).expect("a layout");
    let limit = world.frames.table.border_limit();
    assert_eq!(world.set_zones(zone_layout), Err(SetZonesError::TooManyBorders { limit }));
    assert_eq!(world.frames.validate(), Ok(()));
    assert_eq!(world.frames.free_by_order()[15], 64 * FRAMES_PER_BLOCK);
    assert_eq!(
        world.set_zones(ZoneLayout::new(at(64), 1, core::iter::empty(), |_, _| 10).expect("a layout")),
        Ok(())
    );
    assert_eq!(world.frames.validate(), Ok(()));
    assert_eq!(world.frames.free_by_order()[usize::from(order(14).get())], 32 * FRAMES_PER_BLOCK);
}
