//! What one CPU of a workload does with a heap.

use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::NonNull;

use super::objects::Slots;
use super::worker::{HeapWorker, TIMED};
use crate::heap::source::HeapError;
use crate::stress::failure::Failure;
use crate::stress::heap::object::{Object, Shape};
use crate::stress::marks::ObjectViolation;
use crate::stress::ring::FrameRing;

impl<'a> HeapWorker<'a> {
    /// The slots of the CPU with that rank, for its thread.
    pub(in crate::stress) fn slots_of(&self, rank: usize) -> Slots<'a> {
        Slots::of_thread(self.target.slots, rank)
    }

    /// The slots of this CPU's handler.
    pub(in crate::stress) fn handler_slots(&self) -> Slots<'a> {
        Slots::of_handler(self.target.slots, self.rank)
    }

    /// Calls the heap for an object, and counts it, or its failure.
    #[inline(always)]
    fn request(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        if layout.size() > self.largest {
            self.tally.unsupported += 1;
            return None;
        }
        match self.target.source.alloc(layout) {
            Ok(object) => {
                self.tally.allocations += 1;
                Some(object)
            }
            Err(_) => {
                self.tally.refused += 1;
                None
            }
        }
    }

    /// Records this CPU as the owner of a new object. Returns whether it is.
    #[inline(always)]
    fn acquired(&self, object: NonNull<u8>, layout: Layout) -> bool {
        match self.target.marks.acquire(object, layout, self.id) {
            Ok(()) => true,
            Err(violation) => {
                self.violated(violation);
                false
            }
        }
    }

    #[cold]
    fn violated(&self, violation: ObjectViolation) {
        self.note(Failure::Object(violation));
    }

    /// Allocates an object of this CPU.
    pub(in crate::stress) fn alloc(&mut self, shape: Shape) -> Option<Object> {
        let layout = shape.layout();
        let address = self.request(layout)?;
        self.acquired(address, layout).then_some(Object { address, shape })
    }

    /// As [`alloc`](Self::alloc), and returns the time of the heap's call.
    pub(in crate::stress) fn alloc_timed(&mut self, shape: Shape) -> (Option<Object>, u64) {
        let layout = shape.layout();
        let began = self.platform.cycles();
        let address = self.request(layout);
        let cycles = self.platform.cycles().wrapping_sub(began);
        (
            address
                .filter(|address| self.acquired(*address, layout))
                .map(|address| Object { address, shape }),
            cycles,
        )
    }

    /// As [`alloc`](Self::alloc). Records the latency of one in [`TIMED`] allocations.
    pub(in crate::stress) fn alloc_sampled(&mut self, shape: Shape) -> Option<Object> {
        if self.rng.u32(..TIMED) != 0 {
            return self.alloc(shape);
        }
        let (object, cycles) = self.alloc_timed(shape);
        if object.is_some() {
            self.record(cycles);
        }
        object
    }

    /// Removes `holder` as the owner of an object. Returns whether it was.
    #[inline(always)]
    pub(in crate::stress) fn disown(&self, object: Object, holder: u32) -> bool {
        match self.target.marks.release(object.address, object.shape.layout(), holder) {
            Ok(()) => true,
            Err(violation) => {
                self.violated(violation);
                false
            }
        }
    }

    /// Frees an object without an owner.
    #[inline(always)]
    pub(in crate::stress) fn free(&mut self, object: Object) {
        self.free_object(object.address, object.shape.layout());
    }

    /// Calls the heap to free an object.
    #[inline(always)]
    fn free_object(&mut self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: the object must come from this heap with this layout, and be unused. Each caller frees an object once: it has
        // removed its marks before (`disown`, `release_from`), which it finds in no other object.
        if let Err(error) = unsafe { self.target.source.dealloc(object, layout) } {
            self.note(Failure::HeapRefused(error));
        }
    }

    /// Frees an object of this CPU.
    pub(in crate::stress) fn release(&mut self, object: Object) {
        if self.disown(object, self.id) {
            self.free(object);
        }
    }

    /// Frees an object of another CPU.
    pub(in crate::stress) fn release_from(&mut self, object: Object, holder: u32) {
        if self.disown(object, holder) {
            self.free(object);
        }
    }

    /// Frees an object of whichever CPU its first mark names. It has at least 16 bytes.
    pub(in crate::stress) fn release_of_any(&mut self, object: Object) {
        let holder = self.target.marks.owner_of(object.address);
        self.release_from(object, holder.unwrap_or(self.id));
    }

    /// Frees an object of this CPU, and returns the time of the heap's call.
    pub(in crate::stress) fn release_timed(&mut self, object: Object) -> u64 {
        if !self.disown(object, self.id) {
            return 0;
        }
        let began = self.platform.cycles();
        self.free(object);
        self.platform.cycles().wrapping_sub(began)
    }

    /// Resizes an object of this CPU to the size of another shape. Returns the object, which has its old shape if there is no
    /// memory; `None` if the heap is broken.
    pub(in crate::stress) fn resize(&mut self, object: Object, shape: Shape) -> Option<Object> {
        let (layout, marks) = (object.shape.layout(), &self.target.marks);
        let (from, to) = (layout.size(), shape.layout().size());
        if to > self.largest {
            self.tally.unsupported += 1;
            return Some(object);
        }
        if !self.disown(object, self.id) {
            return None;
        }
        marks.fill(object.address, from);
        // SAFETY: the object must come from this heap with this layout, and be unused: it has no owner. The new size is that of a
        // layout, and not 0; the alignment stays.
        let resized = unsafe { self.target.source.realloc(object.address, layout, to) };
        let (address, size, shape) = match resized {
            Ok(address) => {
                self.tally.allocations += 1;
                (address, to, shape)
            }
            Err(HeapError::OutOfMemory) => {
                self.tally.refused += 1;
                (object.address, from, object.shape)
            }
            Err(error) => {
                self.note(Failure::HeapRefused(error));
                return None;
            }
        };
        let layout = Layout::from_size_align(size, layout.align()).ok()?;
        let target = self.target;
        if let Some(offset) = target.marks.lost(address, from, size) {
            let (address, holder) = (address.addr().get(), self.id);
            self.violated(ObjectViolation::LostContent { address, from, to: size, offset, holder });
        }
        self.acquired(address, layout).then_some(Object { address, shape })
    }

    /// Makes an object of this CPU the head of a list.
    pub(in crate::stress) fn link(&self, object: Object, next: Option<Object>) -> Object {
        self.target.marks.link(object.address, next.map_or(0, Object::pack));
        object
    }

    /// Takes the head off a list of this CPU. Returns the next object; `None` if the head has changed.
    pub(in crate::stress) fn unlink(&self, head: Object) -> Option<Option<Object>> {
        match self.target.marks.unlink(head.address, head.shape.layout(), self.id) {
            Ok(next) => Some(Object::unpack(next)),
            Err(violation) => {
                self.violated(violation);
                None
            }
        }
    }

    /// Frees the objects that the CPU before this one has sent.
    pub(in crate::stress) fn receive_all(&mut self, incoming: &FrameRing, sender: u32) {
        while let Some(word) = incoming.receive() {
            if let Some(object) = Object::unpack(word) {
                self.release_from(object, sender);
            }
            self.count(1);
        }
    }

    /// Frees the objects in these slots. Returns how many there were.
    pub(in crate::stress) fn release_all(&mut self, slots: Slots<'_>) -> u64 {
        let mut count = 0;
        for index in 0..slots.len() {
            if let Some(object) = slots.replace(index, None) {
                self.release(object);
                count += 1;
            }
        }
        self.count(count);
        count
    }
}

/// An object that a workload holds: returned to its heap by [`HeapWorker::free_held_object`]. One that is dropped is lost, which the check at
/// the workload's end finds if the heap counts its objects or its bytes.
#[derive(Debug)]
#[must_use = "an object that is dropped is lost"]
pub struct HeldObject<'a> {
    address: NonNull<u8>,
    layout: Layout,
    of_workload: PhantomData<&'a ()>,
}

impl HeldObject<'_> {
    /// Its address.
    pub fn address(&self) -> NonNull<u8> {
        self.address
    }

    /// Its layout.
    pub fn layout(&self) -> Layout {
        self.layout
    }
}

/// What a workload that a program registers does on its CPU; also [`Worker`](crate::stress::workloads::Worker)'s methods.
///
/// **Context:** thread, interrupts on.
impl<'a> HeapWorker<'a> {
    /// Allocates an object from the heap under test, and checks that no other owns a part of it. `None` if the heap has no memory.
    ///
    /// # Panics
    /// If the size is 0.
    pub fn allocate_object(&mut self, layout: Layout) -> Option<HeldObject<'a>> {
        assert!(layout.size() > 0, "an object has at least one byte");
        let address = self.request(layout)?;
        self.count(1);
        self.acquired(address, layout).then_some(HeldObject { address, layout, of_workload: PhantomData })
    }

    /// Checks that this CPU still owns this object and that its content is unchanged, and frees it.
    pub fn free_held_object(&mut self, object: HeldObject<'a>) {
        match self.target.marks.release(object.address, object.layout, self.id) {
            Ok(()) => self.free_object(object.address, object.layout),
            Err(violation) => self.violated(violation),
        }
        self.count(1);
    }
}
