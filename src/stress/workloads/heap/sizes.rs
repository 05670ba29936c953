//! Objects of every size and every alignment.

use crate::stress::heap::object::Shape;
use crate::stress::workloads::worker::{Body, HeapWorker, Timed, Workload};

/// The objects of one shape that are held, unless they are large.
const HELD: usize = 4;
/// The smallest size of which one object is held: it takes long to write.
const LARGE: usize = 1 << 16;
/// Resizes of each of them.
const RESIZES: usize = 2;

/// The workload `heap_sizes`.
pub(in crate::stress) static HEAP_SIZES: Workload = Workload {
    name: "heap_sizes",
    summary: "Each CPU allocates objects of 1 byte to 1 MiB, aligned to up to 4 KiB, and resizes and frees them.",
    is_default: false,
    on_host: true,
    timed: Timed::Allocation,
    holds_runs: false,
    run: Body::Heap(|worker| worker.heap_sizes()),
    details: None,
};

impl HeapWorker<'_> {
    /// For each shape: allocates a few objects, resizes each to the sizes of random shapes, and frees them.
    fn heap_sizes(&mut self) {
        let slots = self.slots_of(self.rank).first(HELD);
        while self.goes_on() {
            for shape in (0..Shape::ALL).map(Shape::of_index) {
                let held = if shape.layout().size() < LARGE { HELD } else { 1 };
                for index in 0..held {
                    let object = self.alloc_sampled(shape);
                    slots.replace(index, object);
                    self.count(u64::from(object.is_some()));
                }
                for index in 0..held {
                    let mut object = slots.replace(index, None);
                    for _ in 0..RESIZES {
                        let to = self.resized(shape);
                        object = object.and_then(|object| self.resize(object, to));
                        self.count(u64::from(object.is_some()));
                    }
                    slots.replace(index, object);
                }
                self.release_all(slots);
            }
        }
    }

    /// A random shape whose alignment an object of this shape has as well.
    fn resized(&mut self, shape: Shape) -> Shape {
        loop {
            let to = Shape::of_index(self.rng.usize(..Shape::ALL));
            if to.layout().align() == shape.layout().align() {
                return to;
            }
        }
    }
}
