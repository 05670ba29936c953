//! Allocation and free on one CPU and on several, in order.

use super::*;
use crate::heap::size_class::{LARGEST, SizeClass};
use crate::memory::frames::FRAME_BYTES;

/// Sizes around those of classes, and large ones.
fn sizes() -> impl Iterator<Item = usize> {
    let classes = SizeClass::all().flat_map(|class| [class.size() - 1, class.size(), class.size() + 1]);
    classes.chain([LARGEST + 1, 20_000, 32 << 10, 33 << 10, 100_000, 1 << 20, (1 << 20) + 1])
}

#[test]
fn objects_of_any_size_are_aligned_writable_and_return_all_frames() {
    let machine = Machine::new(8, 1);
    for size in sizes() {
        for align in [1, 8, 16, 64, 4096, 64 << 10] {
            let layout = layout(size, align);
            let object = machine.alloc(0, layout).unwrap();
            assert!(object.addr().get().is_multiple_of(align), "{layout:?}");
            fill(object, size, 0x5a);
            assert!(has(object, size, 0x5a));
            assert_eq!(machine.free(0, object, layout), Ok(()));
        }
    }
    assert!(machine.heap.frames() > 0, "nothing is cached");
    machine.assert_all_free();
}

#[test]
fn objects_do_not_overlap() {
    let machine = Machine::new(8, 1);
    for size in sizes().filter(|size| *size <= 100_000) {
        let layout = layout(size, 1);
        let count = if size <= LARGEST { 600_000 / size.max(200) } else { 5 };
        let objects: Vec<_> = (0..count).map(|_| machine.alloc(0, layout).unwrap()).collect();
        for (index, object) in objects.iter().enumerate() {
            fill(*object, size, index as u8);
        }
        for (index, object) in objects.iter().enumerate() {
            assert!(has(*object, size, index as u8), "object {index} of {size} bytes was overwritten");
        }
        for object in objects {
            assert_eq!(machine.free(0, object, layout), Ok(()));
        }
        machine.heap.drain(&machine.cpus);
    }
    machine.assert_all_free();
}

/// The object that was freed last is allocated next: it is in the processor's caches.
#[test]
fn the_last_object_is_allocated_first() {
    let machine = Machine::new(1, 1);
    let layout = layout(64, 8);
    let (one, other) = (machine.alloc(0, layout).unwrap(), machine.alloc(0, layout).unwrap());
    machine.free(0, one, layout).unwrap();
    machine.free(0, other, layout).unwrap();
    assert_eq!(machine.alloc(0, layout), Some(other));
    assert_eq!(machine.alloc(0, layout), Some(one));
    machine.free(0, one, layout).unwrap();
    machine.free(0, other, layout).unwrap();
    machine.assert_all_free();
}

/// Without memory an allocation fails, and nothing is lost.
#[test]
fn an_exhausted_heap_fails_and_recovers() {
    for size in [8, 64, 1000, 4096, LARGEST, 50_000] {
        let machine = Machine::new(1, 2);
        let layout = layout(size, 1);
        let mut objects = Vec::new();
        while let Some(object) = machine.alloc(objects.len() % 2, layout) {
            objects.push(object);
        }
        let bytes = machine.heap.total_frames() * FRAME_BYTES;
        assert!(objects.len() * size > bytes / 2, "{} objects of {size} bytes in {bytes}", objects.len());
        // The heap has no memory for further magazines either.
        for (index, object) in objects.into_iter().enumerate() {
            assert_eq!(machine.free(index % 2, object, layout), Ok(()));
        }
        assert!(machine.alloc(0, layout).is_some_and(|object| machine.free(0, object, layout).is_ok()));
        machine.assert_all_free();
    }
}

/// What one CPU allocates and another frees comes back by full magazines, so memory does not grow.
#[test]
fn objects_freed_elsewhere_return() {
    let machine = Machine::new(8, 2);
    let layout = layout(64, 8);
    let mut frames = 0;
    for round in 0..50 {
        let objects: Vec<_> = (0..1000).map(|_| machine.alloc(0, layout).unwrap()).collect();
        for object in objects {
            machine.free(1, object, layout).unwrap();
        }
        match round {
            0..=1 => frames = machine.heap.frames(),
            _ => assert_eq!(machine.heap.frames(), frames, "in round {round}"),
        }
    }
    machine.assert_all_free();
}

/// A depot does not keep any amount of free memory.
#[test]
fn surplus_slabs_return_their_frames() {
    let machine = Machine::new(16, 1);
    let layout = layout(4096, 8);
    let objects: Vec<_> = (0..4000).map(|_| machine.alloc(0, layout).unwrap()).collect();
    for object in objects {
        machine.free(0, object, layout).unwrap();
    }
    assert!(machine.heap.frames() * FRAME_BYTES < 3 << 20, "{} frames are kept", machine.heap.frames());
    machine.assert_all_free();
}

#[test]
fn an_object_grows_in_place_within_its_class() {
    let machine = Machine::new(4, 1);
    // SAFETY: the object is the test's, with the old layout.
    let resize = |object, old, new| unsafe { machine.heap.heap().resize(object, old, new) };
    let object = machine.alloc(0, layout(33, 1)).unwrap();
    assert_eq!(resize(object, layout(33, 1), layout(40, 1)), Ok(true));
    assert_eq!(resize(object, layout(40, 1), layout(41, 1)), Ok(false));
    assert!(resize(object, layout(100, 1), layout(101, 1)).is_err());
    machine.free(0, object, layout(40, 1)).unwrap();
    // Nine frames are rounded up to ten.
    let large = machine.alloc(0, layout(9 * FRAME_BYTES, 1)).unwrap();
    assert_eq!(resize(large, layout(9 * FRAME_BYTES, 1), layout(10 * FRAME_BYTES, 1)), Ok(true));
    assert_eq!(resize(large, layout(10 * FRAME_BYTES, 1), layout(10 * FRAME_BYTES + 1, 1)), Ok(false));
    let before = machine.heap.frames();
    assert_eq!(resize(large, layout(10 * FRAME_BYTES, 1), layout(5 * FRAME_BYTES, 1)), Ok(true));
    assert_eq!(machine.heap.frames(), before - 5);
    machine.free(0, large, layout(5 * FRAME_BYTES, 1)).unwrap();
    machine.assert_all_free();
}

/// A large object wastes less than a quarter.
#[test]
fn a_large_object_has_few_more_frames_than_it_needs() {
    let machine = Machine::new(4, 1);
    for frames in 5..200 {
        let layout = layout(frames * FRAME_BYTES, 1);
        let before = machine.heap.frames();
        let object = machine.alloc(0, layout).unwrap();
        let taken = machine.heap.heap().large_stats().frames;
        assert!(taken >= frames && (taken - frames) * 4 < taken, "{taken} frames for {frames}");
        assert!(machine.heap.frames() >= before + taken);
        machine.free(0, object, layout).unwrap();
    }
    machine.assert_all_free();
}

#[test]
fn a_heap_without_memory_fails() {
    let heap = crate::heap::allocator::Heap::new(crate::heap::host::HostFrames::new(1));
    let cpu = Magazines::new();
    assert_eq!(heap.alloc(&cpu, layout(8, 8)), None);
    assert_eq!(heap.alloc(&cpu, layout(100_000, 8)), None);
    assert_eq!(heap.drain(&cpu), Ok(()));
    assert_eq!(heap.drain_depots(), Ok(()));
}

/// Objects return to the slabs of their own node, whichever node's CPU frees them.
#[test]
fn nodes_have_depots_of_their_own() {
    let heap = HostHeap::new(4, 2);
    let cpus = [Magazines::new(), Magazines::new()];
    cpus[1].set_node(1);
    let layout = layout(128, 8);
    let of_first: Vec<_> = (0..2000).map(|_| heap.heap().alloc(&cpus[0], layout).unwrap()).collect();
    for object in of_first {
        // SAFETY: the object was allocated above with this layout.
        unsafe { heap.heap().dealloc(&cpus[1], object, layout) }.unwrap();
    }
    heap.drain(&cpus);
    assert_eq!(heap.heap().validate(), Ok(()));
    assert_eq!(heap.frames(), 0);
}

/// Without memory for a slab, an object of another node's slab is better than none.
#[test]
fn a_node_without_memory_gets_objects_of_another_ones_slabs() {
    let machine = Machine::on_nodes(1, 2, 2);
    let layout = layout(4096, 8);
    let objects: Vec<_> = core::iter::from_fn(|| machine.alloc(1, layout)).collect();
    // No slab becomes whole, so no frame becomes free.
    let (freed, kept): (Vec<_>, Vec<_>) = objects.chunks(2).map(|pair| (pair[0], pair.get(1))).unzip();
    for object in &freed {
        assert_eq!(machine.free(1, *object, layout), Ok(()));
    }
    machine.heap.drain([&machine.cpus[1]]);
    let got: Vec<_> = core::iter::from_fn(|| machine.alloc(0, layout)).collect();
    assert!(got.len() >= freed.len(), "{} of {} objects are found", got.len(), freed.len());
    for object in got.iter().chain(kept.into_iter().flatten()) {
        assert_eq!(machine.free(0, *object, layout), Ok(()));
    }
    machine.assert_all_free();
}
