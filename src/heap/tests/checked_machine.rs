//! A machine whose heap is checked.

use core::ops::Deref;

use super::*;
use crate::heap::checked::{CheckedHeap, Found, Shape};
use crate::heap::host::HostFrames;
use crate::heap::sites::{Site, SiteId, Sites};

/// A machine whose heap is checked: everything is allocated and freed by these functions. A call site is one number.
pub(super) struct CheckedMachine {
    machine: Machine,
    table: Vec<Site>,
}

impl Deref for CheckedMachine {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl CheckedMachine {
    /// `machine` has allocated nothing.
    pub(super) fn new(machine: Machine) -> CheckedMachine {
        machine.heap.heap().fill_slabs();
        CheckedMachine { machine, table: (0..64).map(|_| Site::new()).collect() }
    }

    pub(super) fn sites(&self) -> Sites<'_> {
        Sites(&self.table)
    }

    fn checks(&self) -> CheckedHeap<'_, HostFrames> {
        // SAFETY: `new` has called `fill_slabs`; `alloc` and `free` pass everything through the checks.
        unsafe { CheckedHeap::new(self.heap.heap(), self.sites()) }
    }

    fn site(&self, call: u64) -> SiteId {
        self.sites().enter([call].into_iter())
    }

    pub(super) fn alloc(&self, cpu: usize, call: u64, layout: Layout) -> Result<Option<NonNull<u8>>, Found> {
        let Some(shape) = Shape::of(layout) else { return Ok(None) };
        let Some(block) = self.machine.alloc(cpu, shape.block()) else { return Ok(None) };
        // SAFETY: the heap has returned the block for the shape's layout, one line above.
        unsafe { self.checks().set_up(block, shape, self.site(call)) }.map(Some)
    }

    pub(super) fn free(
        &self,
        cpu: usize,
        call: u64,
        object: NonNull<u8>,
        layout: Layout,
    ) -> Result<(), Found> {
        // SAFETY: the tests own what they free, or free what the heap is certain to refuse.
        let (block, layout) = unsafe { self.checks().retire(object, layout, self.site(call)) }?;
        self.machine.free(cpu, block, layout).map_err(Found::without_object)
    }

    pub(super) fn check(&self, object: NonNull<u8>, layout: Layout) -> Result<(), Found> {
        // SAFETY: the tests own what they check.
        unsafe { self.checks().check(object, layout) }
    }

    /// The calls of the sites of what was found.
    pub(super) fn calls(&self, found: Found) -> [Option<u64>; 2] {
        [found.allocated, found.freed].map(|id| id.map(|id| self.sites().get(id).unwrap().calls[0]))
    }
}
