//! What the heap counts.

use super::*;
use crate::heap::size_class::{CLASSES, SizeClass};
use crate::heap::stats::ClassStats;
use crate::memory::frames::FRAME_BYTES;

/// How many objects of a class are in magazines, by the node of their slabs.
fn cached(heap: &HostHeap, cpus: &[Magazines], nodes: usize) -> Vec<[usize; CLASSES]> {
    let mut counts = vec![[0; CLASSES]; nodes];
    let mut add = |node: usize, class: SizeClass, objects| counts[node][class.index()] += objects;
    cpus.iter().for_each(|cpu| heap.heap().each_cached(cpu, &mut add));
    heap.heap().each_in_depots(&mut add);
    counts
}

fn of_class(heap: &HostHeap, size: usize) -> Vec<ClassStats> {
    heap.heap().class_stats().filter(|stats| stats.class.size() == size).collect()
}

#[test]
fn live_cached_and_free_objects_add_up_to_the_slabs() {
    let machine = Machine::new(4, 2);
    let layout = layout(1000, 8);
    let mut objects: Vec<_> = (0..300).map(|_| machine.alloc(0, layout).unwrap()).collect();
    for object in objects.drain(100..) {
        machine.free(1, object, layout).unwrap();
    }
    let [stats] = of_class(&machine.heap, 1024)[..] else { panic!("one node") };
    let cached = cached(&machine.heap, &machine.cpus, 1)[0][stats.class.index()];
    assert_eq!(stats.live(cached), 100);
    assert!(cached >= stats.in_depot && stats.in_depot > 0, "{cached} {stats:?}");
    assert_eq!(stats.live(cached) + cached + stats.free(), stats.slabs * 32);
    assert_eq!(stats.slab_waste(), stats.free() * 1024);
    assert_eq!(stats.internal_waste(stats.live(cached)), 100 * 24);
    for object in objects {
        machine.free(0, object, layout).unwrap();
    }
    machine.assert_all_free();
    assert_eq!(of_class(&machine.heap, 1024), []);
}

/// 32 KiB have 9 objects of 3.5 KiB, and 512 bytes behind them.
#[test]
fn the_rest_of_a_slab_is_waste() {
    let machine = Machine::new(1, 1);
    let layout = layout(3584, 8);
    let objects: Vec<_> = (0..9).map(|_| machine.alloc(0, layout).unwrap()).collect();
    let [stats] = of_class(&machine.heap, 3584)[..] else { panic!("one node") };
    let cached = cached(&machine.heap, &machine.cpus, 1)[0][stats.class.index()];
    let taken = stats.live(cached) + cached;
    assert_eq!((stats.live(cached), taken + stats.free()), (9, stats.slabs * 9));
    assert_eq!(stats.slab_waste(), stats.slabs * (32 << 10) - taken * 3584);
    assert_eq!(stats.internal_waste(9), 0);
    objects.into_iter().for_each(|object| machine.free(0, object, layout).unwrap());
    machine.assert_all_free();
}

/// The mean of sizes that take turns lies between them.
#[test]
fn internal_waste_is_estimated_from_a_sample() {
    let machine = Machine::new(4, 1);
    let layouts = [layout(65, 8), layout(80, 8), layout(75, 8)];
    let objects: Vec<_> =
        (0..6000).map(|at| (machine.alloc(0, layouts[at % 3]).unwrap(), layouts[at % 3])).collect();
    let [stats] = of_class(&machine.heap, 80)[..] else { panic!("one node") };
    let (waste, exact) = (stats.internal_waste(6000), 2000 * (15 + 5));
    assert!(waste.abs_diff(exact) < exact / 4, "{waste} for {exact}");
    objects.into_iter().for_each(|(object, layout)| machine.free(0, object, layout).unwrap());
    machine.assert_all_free();
}

/// A cached object counts for the node of its slab, whichever CPU has it.
#[test]
fn live_objects_are_counted_by_the_node_of_their_slabs() {
    let machine = Machine::on_nodes(4, 2, 2);
    let layout = layout(64, 8);
    let objects: Vec<_> = (0..1000).map(|_| machine.alloc(0, layout).unwrap()).collect();
    let (kept, freed) = objects.split_at(300);
    freed.iter().for_each(|object| machine.free(1, *object, layout).unwrap());
    let counts = cached(&machine.heap, &machine.cpus, 2);
    let stats = of_class(&machine.heap, 64);
    assert_eq!(stats.len(), 2, "the depot of node 1 has full magazines: {stats:?}");
    let live = |stats: &ClassStats| stats.live(counts[stats.node][stats.class.index()]);
    assert_eq!(stats.iter().map(live).collect::<Vec<_>>(), [300, 0]);
    kept.iter().for_each(|object| machine.free(0, *object, layout).unwrap());
    machine.assert_all_free();
}

#[test]
fn large_objects_are_counted_to_the_byte() {
    let machine = Machine::new(4, 1);
    let stats = || machine.heap.heap().large_stats();
    let object = machine.alloc(0, layout(8 * FRAME_BYTES + 1, 8)).unwrap();
    assert_eq!((stats().objects, stats().bytes, stats().frames), (1, 8 * FRAME_BYTES + 1, 10));
    for (old, new, frames) in [(8 * FRAME_BYTES + 1, 9 * FRAME_BYTES, 10), (9 * FRAME_BYTES, 20_000, 5)] {
        // SAFETY: the object is the test's, with the old layout.
        let resized = unsafe { machine.heap.heap().resize(object, layout(old, 8), layout(new, 8)) };
        assert_eq!((resized, stats().bytes, stats().frames), (Ok(true), new, frames));
    }
    machine.free(0, object, layout(20_000, 8)).unwrap();
    assert_eq!((stats().objects, stats().bytes, stats().frames), (0, 0, 0));
    machine.assert_all_free();
}
