//! Tests of the heap on the host.

#[cfg(not(any(loom, shuttle)))]
mod checked;
#[cfg(not(any(loom, shuttle)))]
mod checked_machine;
mod misuse;
#[cfg(not(any(loom, shuttle)))]
mod model;
#[cfg(any(loom, shuttle))]
mod models;
mod objects;
#[cfg(not(any(loom, shuttle)))]
mod stats;
#[cfg(not(any(loom, shuttle)))]
mod threads;

use core::alloc::Layout;
use core::ptr::NonNull;

use super::host::HostHeap;
use super::magazines::Magazines;
use super::misuse::Misuse;

/// A heap with the magazines of some CPUs.
struct Machine {
    heap: HostHeap,
    cpus: Vec<Magazines>,
}

impl Machine {
    fn new(blocks: usize, cpus: usize) -> Machine {
        Machine::on_nodes(blocks, cpus, 1)
    }

    /// The CPUs take turns among the nodes.
    fn on_nodes(blocks: usize, cpus: usize, nodes: usize) -> Machine {
        let cpus: Vec<_> = (0..cpus).map(|_| Magazines::new()).collect();
        cpus.iter().enumerate().for_each(|(number, cpu)| cpu.set_node(number % nodes));
        Machine { heap: HostHeap::new(blocks, nodes), cpus }
    }

    fn alloc(&self, cpu: usize, layout: Layout) -> Option<NonNull<u8>> {
        self.heap.heap().alloc(&self.cpus[cpu], layout)
    }

    fn free(&self, cpu: usize, object: NonNull<u8>, layout: Layout) -> Result<(), Misuse> {
        // SAFETY: the tests own what they free, or free what the heap is certain to refuse.
        unsafe { self.heap.heap().dealloc(&self.cpus[cpu], object, layout) }
    }

    /// Drains everything. All frames are free then, if all objects are.
    fn assert_all_free(&self) {
        self.heap.drain(&self.cpus);
        assert_eq!(self.heap.heap().validate(), Ok(()));
        assert_eq!(self.heap.frames(), 0, "frames are lost");
    }
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// Fills an object with a pattern.
fn fill(object: NonNull<u8>, bytes: usize, pattern: u8) {
    // SAFETY: the tests pass objects of this size that they own.
    unsafe { object.write_bytes(pattern, bytes) };
}

/// Whether an object has a pattern.
fn has(object: NonNull<u8>, bytes: usize, pattern: u8) -> bool {
    // SAFETY: the tests pass objects of this size that they own and have written.
    unsafe { core::slice::from_raw_parts(object.as_ptr(), bytes) }.iter().all(|byte| *byte == pattern)
}
