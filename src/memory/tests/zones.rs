//! Zones and nodes: the division of memory, the order of the search, and the result of requests.

use super::{World, order};
use crate::memory::cache::{Magazine, Reclaimable, RemoteMagazine};
use crate::memory::frames::{
    FrameNumber, FrameRequest, NodeId, Nodes, Order, SetZonesError, ZoneId, ZoneLayout, ZoneLayoutError,
    ZoneType,
};
use std::vec::Vec;

/// Where the small worlds' [`ZoneType::Dma32`] ends, in blocks.
const DMA32_BLOCKS: usize = 10;

const fn at(frame: usize) -> FrameNumber {
    FrameNumber::new(frame)
}

fn name(node: u8, zone: ZoneType) -> ZoneId {
    ZoneId { node: NodeId(node), zone_type: zone }
}

/// Nodes in a row: each is farther from those that are farther by number.
fn in_a_row(a: NodeId, b: NodeId) -> u8 {
    10 * (a.0.abs_diff(b.0) + 1)
}

/// So many nodes of these ranges of blocks, each a little past the block's start.
fn zone_layout(end: FrameNumber, nodes: usize, blocks: &[(usize, usize, u8)]) -> ZoneLayout {
    let ranges =
        blocks.iter().map(|&(start, end, node)| (at(start * 512 + 7)..at(end * 512 + 7), NodeId(node)));
    let mut zone_layout = ZoneLayout::empty();
    zone_layout.fill_with(end, nodes, ranges, in_a_row, at(DMA32_BLOCKS * 512)).expect("a partition");
    zone_layout
}

/// Twenty blocks: two nodes that take turns.
pub(crate) fn two_nodes(end: FrameNumber) -> ZoneLayout {
    zone_layout(end, 2, &[(0, 5, 0), (5, 12, 1), (12, 15, 0), (15, 21, 1)])
}

/// Sixteen blocks of four nodes in a row, the third of which has none.
fn four_nodes(end: FrameNumber) -> ZoneLayout {
    zone_layout(end, 4, &[(0, 6, 0), (6, 13, 1), (13, 16, 3)])
}

#[test]
fn zones_begin_at_blocks_and_are_named() {
    let cut = two_nodes(at(20 * 512));
    let of = |block: usize| cut.zones()[cut.zone_of(at(block * 512).block())];
    // The border's block belongs to what is below.
    assert_eq!(
        (of(0), of(1), of(5)),
        (name(0, ZoneType::Low), name(0, ZoneType::Dma32), name(0, ZoneType::Dma32))
    );
    assert_eq!((of(6), of(9)), (name(1, ZoneType::Dma32), name(1, ZoneType::Dma32)));
    assert_eq!(
        (of(10), of(12), of(13)),
        (name(1, ZoneType::Normal), name(1, ZoneType::Normal), name(0, ZoneType::Normal))
    );
    assert_eq!(
        (of(15), of(16), of(19)),
        (name(0, ZoneType::Normal), name(1, ZoneType::Normal), name(1, ZoneType::Normal))
    );
    assert_eq!(cut.zones().len(), 5, "each name once: {:?}", cut.zones());
    assert_eq!(cut.node_of(at(5 * 512 + 7)), NodeId(0));
    let regions: Vec<_> = (0..).map_while(|index| cut.region(index)).collect();
    assert_eq!(regions.iter().map(|(_, span)| span.end.0 - span.start.0).sum::<usize>(), 20);
    assert!(regions.iter().all(|(zone, span)| cut.zone_of(span.start) == *zone));
}

/// The kernel makes its partition in memory that holds anything.
#[test]
fn a_layout_written_in_place_is_empty_whatever_was_there() {
    let mut place = core::mem::MaybeUninit::<ZoneLayout>::uninit();
    // SAFETY: the place is valid for writes of its own size; bytes need not be a valid partition there.
    unsafe { place.as_mut_ptr().write_bytes(0xa5, 1) };
    let written = ZoneLayout::write_empty(&mut place);
    assert!(written.zones().is_empty() && written.nodes() == 0 && written.borders().count() == 0);
    let cut = |zone_layout: &mut ZoneLayout| {
        let filled = zone_layout.fill(at(1 << 21), 1, core::iter::empty(), in_a_row);
        (filled, zone_layout.zones().to_vec(), zone_layout.borders().collect::<Vec<_>>())
    };
    assert_eq!(cut(written), cut(&mut ZoneLayout::empty()));
}

#[test]
fn without_numa_tables_there_is_one_node() {
    let cut = ZoneLayout::new(at(3 << 20), 1, core::iter::empty(), |_, _| 10).expect("a partition");
    assert_eq!(cut.zones(), [name(0, ZoneType::Low), name(0, ZoneType::Dma32), name(0, ZoneType::Normal)]);
    let small = ZoneLayout::new(at(1000), 1, core::iter::empty(), |_, _| 10).expect("a partition");
    assert_eq!(small.zones(), [name(0, ZoneType::Low), name(0, ZoneType::Dma32)]);
}

#[test]
fn a_node_with_only_a_part_of_a_block_has_no_zone() {
    let ranges = [(at(0)..at(600), NodeId(0)), (at(600)..at(900), NodeId(1)), (at(900)..at(9000), NodeId(0))];
    let cut = ZoneLayout::new(at(9000), 2, ranges.into_iter(), in_a_row).expect("a partition");
    assert_eq!(cut.zones(), [name(0, ZoneType::Low), name(0, ZoneType::Dma32)]);
    assert_eq!(cut.borders().count(), 1, "neighbours of one name are one");
}

#[test]
fn an_invalid_layout_is_refused() {
    let new = |nodes, ranges: &[(usize, usize, u8)]| {
        let ranges = ranges.iter().map(|&(start, end, node)| (at(start)..at(end), NodeId(node)));
        ZoneLayout::new(at(1 << 20), nodes, ranges, in_a_row).map(|_| ())
    };
    assert_eq!(new(0, &[]), Err(ZoneLayoutError::Nodes { count: 0 }));
    assert_eq!(new(2, &[(0, 9, 2)]), Err(ZoneLayoutError::NoSuchNode { node: NodeId(2) }));
    assert_eq!(new(2, &[(0, 9, 0), (8, 20, 1)]), Err(ZoneLayoutError::OutOfOrder { start: at(8) }));
    let many: Vec<_> = (0..200).map(|i| (i * 512, i * 512 + 512, (i % 2) as u8)).collect();
    assert!(matches!(new(2, &many), Err(ZoneLayoutError::TooManyRegions { .. })));
}

#[test]
fn a_zonelist_has_its_node_first_then_by_distance_and_the_low_zone_last() {
    let cut = four_nodes(at(16 * 512));
    let zonelist = |node| {
        cut.zonelist(NodeId(node)).iter().map(|&zone| cut.zones()[usize::from(zone)]).collect::<Vec<_>>()
    };
    let (low, near) = (name(0, ZoneType::Low), name(0, ZoneType::Dma32));
    let [first, first_low, last] =
        [name(1, ZoneType::Normal), name(1, ZoneType::Dma32), name(3, ZoneType::Normal)];
    assert_eq!(zonelist(0), [near, first, first_low, last, low]);
    assert_eq!(zonelist(1), [first, first_low, near, last, low]);
    // Nodes 1 and 3 are equally far from 2, which has nothing: the next by number first.
    assert_eq!(zonelist(2), [last, first, first_low, near, low]);
    assert_eq!(zonelist(3), [last, first, first_low, near, low]);
}

/// Takes single frames until there are none; the nodes and zones that they came from, in order, each once in a row.
fn ways_down(world: &World, home: u8) -> Vec<ZoneId> {
    let magazine = Magazine::new();
    magazine.set_local_node(NodeId(home));
    let cut = world.frames.zone_layout().expect("it is divided");
    let mut ways = Vec::new();
    let frames = world.take_everything(&magazine);
    assert_eq!(frames.len(), world.frames.total_frames());
    for frame in &frames {
        let name = cut.zones()[cut.zone_of(frame.block())];
        if ways.last() != Some(&name) {
            ways.push(name);
        }
    }
    assert_eq!(world.frames.free_bulk(&magazine, &frames), Ok(()));
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    ways
}

#[test]
fn memory_is_allocated_in_the_order_of_the_zonelist_and_all_is_freed() {
    let world = World::with_zones(16, four_nodes);
    world.insert(0..world.len).expect("it is new");
    let before: Vec<_> = world.frames.zone_stats().collect();
    let cut = world.frames.zone_layout().expect("it is divided");
    for home in 0..4 {
        let zonelist: Vec<_> =
            cut.zonelist(NodeId(home)).iter().map(|&it| cut.zones()[usize::from(it)]).collect();
        assert_eq!(ways_down(&world, home), zonelist);
        assert_eq!(world.frames.validate(), Ok(()));
        assert_eq!(world.frames.zone_stats().collect::<Vec<_>>(), before);
    }
    assert_eq!(before.iter().map(|zone| zone.total).sum::<usize>(), world.len);
}

#[test]
fn memory_free_before_the_zones_are_set_is_moved_to_them() {
    let world = World::with_zones(20, two_nodes);
    world.insert(0..world.len).expect("it is new");
    let single_zone = World::at_zero(20);
    single_zone.insert(0..single_zone.len).expect("it is new");
    let magazine = Magazine::new();
    let frame = single_zone.frames.alloc(&magazine, Order::FRAME).expect("a frame");
    let block = single_zone.frames.alloc(&magazine, Order::BLOCK).expect("a block");
    single_zone.set_zones(two_nodes(single_zone.first + single_zone.len)).expect("nothing lies on a border");
    assert_eq!(single_zone.frames.validate(), Ok(()));
    assert_eq!(
        single_zone.set_zones(two_nodes(single_zone.first + single_zone.len)),
        Err(SetZonesError::AlreadySet)
    );
    assert_eq!(single_zone.frames.free(&magazine, frame, Order::FRAME), Ok(()));
    assert_eq!(single_zone.frames.free(&magazine, block, Order::BLOCK), Ok(()));
    assert_eq!(single_zone.frames.drain(&magazine), Ok(()));
    assert_eq!(single_zone.frames.validate(), Ok(()));
    assert_eq!(
        single_zone.frames.zone_stats().collect::<Vec<_>>(),
        world.frames.zone_stats().collect::<Vec<_>>()
    );
}

#[test]
fn zones_are_not_set_across_an_allocated_run() {
    let world = World::at_zero(16);
    world.insert(0..world.len).expect("it is new");
    let magazine = Magazine::new();
    let all = world.frames.alloc(&magazine, order(13)).expect("all of it");
    let cut = |world: &World| four_nodes(world.first + world.len);
    assert_eq!(
        world.set_zones(cut(&world)),
        Err(SetZonesError::AcrossBorder { frame: at(512), order: order(13) })
    );
    assert_eq!(world.frames.free(&magazine, all, order(13)), Ok(()));
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    let before = world.frames.free_by_order();
    assert_eq!(before[13], world.len);
    assert_eq!(world.frames.validate(), Ok(()));
    assert_eq!(world.set_zones(cut(&world)), Ok(()));
    assert_eq!(world.frames.free_by_order()[13], 0);
}

#[test]
fn zones_are_not_set_across_a_cached_run() {
    let world = World::at_zero(16);
    world.insert(0..world.len).expect("it is new");
    let magazine = Magazine::new();
    let run = world.frames.alloc(&magazine, order(10)).expect("the first two blocks");
    assert_eq!(run, at(0));
    assert_eq!(world.frames.free(&magazine, run, order(10)), Ok(()));
    let cut = |world: &World| four_nodes(world.first + world.len);
    assert_eq!(
        world.set_zones(cut(&world)),
        Err(SetZonesError::AcrossBorder { frame: at(512), order: order(10) })
    );
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    assert_eq!(world.set_zones(cut(&world)), Ok(()));
    assert_eq!(world.frames.validate(), Ok(()));
}

#[test]
fn requests_get_what_they_ask_for_or_nothing() {
    let world = World::with_zones(20, two_nodes);
    world.insert(1..world.len).expect("it is new");
    let before: Vec<_> = world.frames.zone_stats().collect();
    let magazine = Magazine::new();
    let mut taken = Vec::new();
    let mut take_all = |request: FrameRequest| {
        let mut count = 0;
        while let Some(frame) = world.frames.alloc_in(&magazine, request) {
            assert!(frame.is_aligned_to(request.order));
            taken.push((frame, request.order));
            count += 1;
        }
        (count, core::mem::take(&mut taken))
    };
    let low = FrameRequest::new(order(2)).in_zone(ZoneType::Low);
    assert_eq!(take_all(low.on(Nodes::Only(NodeId(1)))).0, 0, "the first block is node 0's");
    assert_eq!(take_all(FrameRequest::new(order(9)).in_zone(ZoneType::Low)).0, 0);
    let mut out = Vec::new();
    for number in [8, 7, 2, 0] {
        let (count, frames) = take_all(FrameRequest::new(order(number)).in_zone(ZoneType::Low));
        // Frame 0 is not there: what is left after the largest run is one of each smaller order.
        let expected = match number {
            8 => 0,
            7 => 1,
            2 => 31,
            _ => 3,
        };
        assert_eq!(count, expected, "order {number}");
        assert!(frames.iter().all(|(frame, order)| *frame + order.frames() <= at(256)), "{frames:?}");
        out.extend(frames);
    }
    let (count, frames) =
        take_all(FrameRequest::new(Order::BLOCK).in_zone(ZoneType::Dma32).on(Nodes::Only(NodeId(1))));
    assert_eq!(count, 4);
    assert!(frames.iter().all(|(frame, _)| (at(6 * 512)..at(10 * 512)).contains(frame)));
    out.extend(frames);
    // The rest of node 0, its frames past 1 MiB in the first block included; then those of node 1.
    let (count, frames) = take_all(FrameRequest::new(Order::FRAME).in_zone(ZoneType::Dma32));
    assert_eq!(count, 256 + 5 * 512);
    out.extend(frames);
    let (count, frames) = take_all(FrameRequest::new(order(5)).on(Nodes::NearestTo(NodeId(1))));
    assert_eq!(count, 10 * 16);
    let nodes: Vec<_> = frames
        .iter()
        .map(|(frame, _)| world.frames.zone_layout().expect("it is").node_of(*frame).0)
        .collect();
    assert!(nodes[..7 * 16].iter().all(|node| *node == 1) && nodes[7 * 16..].iter().all(|node| *node == 0));
    out.extend(frames);
    assert_eq!(world.frames.free_frames(), 0);
    for (frame, order) in out {
        assert_eq!(world.frames.free(&magazine, frame, order), Ok(()));
    }
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    assert_eq!(world.frames.validate(), Ok(()));
    assert_eq!(world.frames.zone_stats().collect::<Vec<_>>(), before);
}

#[test]
fn before_the_zones_are_set_requests_for_a_type_fail() {
    let world = World::new(2);
    let magazine = Magazine::new();
    let request = FrameRequest::new(Order::FRAME);
    assert_eq!(world.frames.alloc_in(&magazine, request.in_zone(ZoneType::Low)), None);
    assert_eq!(world.frames.alloc_in(&magazine, request.on(Nodes::Only(NodeId(0)))), None);
    assert!(world.frames.alloc_in(&magazine, request).is_some());
}

/// Frames in a magazine are found by a request that only they can meet.
#[test]
fn a_request_drains_its_own_magazine() {
    let world = World::with_zones(1, |end| zone_layout(end, 1, &[(0, 1, 0)]));
    world.insert(0..world.len).expect("it is new");
    let magazine = Magazine::new();
    let frames = world.take_everything(&magazine);
    let low = frames.iter().position(|frame| *frame < at(256)).expect("half of them");
    assert_eq!(world.frames.free(&magazine, frames[low], Order::FRAME), Ok(()));
    let request = FrameRequest::new(Order::FRAME).in_zone(ZoneType::Low);
    assert_eq!(world.frames.alloc_in(&magazine, request), Some(frames[low]));
    assert_eq!(world.frames.alloc_in(&magazine, request), None);
}

#[test]
fn cached_frames_complete_a_run_of_one_zone_only() {
    let world = World::with_zones(20, two_nodes);
    assert_eq!(world.insert(0..world.len), Ok(world.len));
    let mut all = world.take_everything(&Magazine::new());
    all.sort();
    // All of two blocks lies in the table, but for a frame, which is kept.
    let after_drain = |block: usize| {
        let (here, there) = (Magazine::new(), Magazine::new());
        let frames = &all[block * 512..(block + 2) * 512];
        assert_eq!(world.frames.free_bulk(&here, &frames[1..]), Ok(()));
        assert_eq!(world.frames.drain(&here), Ok(()));
        assert_eq!(world.frames.free(&there, frames[0], Order::FRAME), Ok(()));
        // SAFETY: the magazine outlives the call, and no code writes to it meanwhile.
        let there = unsafe { RemoteMagazine::new(&raw const there) };
        world.frames.estimate_reclaimable(order(10), [there].into_iter()).reclaimable
    };
    assert_eq!(after_drain(12), Reclaimable::Nothing, "of two nodes");
    assert_eq!(after_drain(14), Reclaimable::Run(at(14 * 512)..at(16 * 512)));
}
