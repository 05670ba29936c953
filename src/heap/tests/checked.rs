//! The checked heap: each misuse is found, with the sites of the object.

use core::ops::Deref;

use super::*;
use crate::heap::Misuse;
use crate::heap::checked::{CheckedHeap, Found};
use crate::heap::host::HostFrames;
use crate::heap::sites::{Site, SiteId, Sites};
use crate::heap::size_class::{LARGEST, SizeClass};

struct CheckedMachine {
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
    fn new() -> CheckedMachine {
        let machine = Machine::new(4, 2);
        machine.heap.heap().fill_slabs();
        CheckedMachine { machine, table: (0..64).map(|_| Site::new()).collect() }
    }

    fn checked(&self) -> CheckedHeap<'_, HostFrames> {
        CheckedHeap { heap: self.heap.heap(), sites: Sites(&self.table) }
    }

    fn site(&self, call: u64) -> SiteId {
        Sites(&self.table).enter([call].into_iter())
    }

    fn alloc_at(&self, call: u64, layout: Layout) -> NonNull<u8> {
        self.checked().alloc(&self.cpus[0], layout, self.site(call)).unwrap().unwrap()
    }

    fn free_at(&self, call: u64, object: NonNull<u8>, layout: Layout) -> Result<(), Found> {
        // SAFETY: the tests own what they free, or free what the heap is certain to refuse.
        unsafe { self.checked().dealloc(&self.cpus[0], object, layout, self.site(call)) }
    }

    /// The calls of the sites of what was found.
    fn calls(&self, found: Found) -> [Option<u64>; 2] {
        let call = |id: Option<SiteId>| id.map(|id| Sites(&self.table).get(id).unwrap().calls[0]);
        [call(found.allocated), call(found.freed)]
    }
}

fn write(object: NonNull<u8>, offset: isize) {
    // SAFETY: the tests write to red zones, records and free objects, which lie in the heap's memory.
    let byte = unsafe { object.offset(offset) };
    // SAFETY: as the line before.
    unsafe { byte.write(7) };
}

fn sizes() -> impl Iterator<Item = usize> {
    let classes = SizeClass::all().flat_map(|class| [class.size() - 1, class.size()]);
    classes.chain([LARGEST - 80, LARGEST + 1, 100_000])
}

#[test]
fn objects_of_any_size_are_whole_and_return_all_frames() {
    let machine = CheckedMachine::new();
    for size in sizes() {
        for align in [1, 8, 16, 64, 128, 4096, 64 << 10] {
            let layout = layout(size, align);
            for _ in 0..3 {
                let object = machine.alloc_at(1, layout);
                assert!(object.addr().get().is_multiple_of(align), "{layout:?}");
                assert_eq!(machine.checked().check(object, layout), Ok(()));
                fill(object, size, 0x11);
                assert_eq!(machine.free_at(2, object, layout), Ok(()), "{layout:?}");
            }
        }
    }
    assert_eq!(Sites(&machine.table).live().count(), 0);
    machine.assert_all_free();
}

#[test]
fn a_double_free_names_both_sites() {
    let machine = CheckedMachine::new();
    let layout = layout(24, 8);
    let object = machine.alloc_at(1, layout);
    machine.free_at(2, object, layout).unwrap();
    let found = machine.free_at(3, object, layout).unwrap_err();
    assert_eq!(found.misuse, Misuse::DoubleFree { address: object.addr().get() });
    assert_eq!(machine.calls(found), [Some(1), Some(2)]);
    machine.assert_all_free();
}

#[test]
fn a_double_free_of_a_large_object_is_found() {
    let machine = CheckedMachine::new();
    let layout = layout(100_000, 8);
    let object = machine.alloc_at(1, layout);
    machine.free_at(2, object, layout).unwrap();
    let found = machine.free_at(3, object, layout).unwrap_err();
    assert_eq!(found.misuse, Misuse::DoubleFree { address: object.addr().get() });
    machine.assert_all_free();
}

#[test]
fn a_write_outside_an_object_is_found_by_its_first_byte() {
    let machine = CheckedMachine::new();
    for (size, align) in [(1, 1), (24, 8), (333, 8), (4096, 4096), (20_000, 8)] {
        let layout = layout(size, align);
        for (offset, is_behind) in [(0, true), (15, true), (-1, false), (-16, false)] {
            let object = machine.alloc_at(1, layout);
            let at = if is_behind { size as isize + offset } else { offset };
            write(object, at);
            let found = machine.free_at(2, object, layout).unwrap_err();
            let address = object.addr().get();
            let expected = match is_behind {
                true => Misuse::Overrun { address, size, offset: at as usize },
                false => Misuse::Underrun { address, size, before: (-at) as usize },
            };
            assert_eq!((found.misuse, machine.calls(found)), (expected, [Some(1), None]));
            fill_zone(object, at);
            machine.free_at(2, object, layout).unwrap();
        }
    }
    machine.assert_all_free();
}

/// Restores a byte of a red zone.
fn fill_zone(object: NonNull<u8>, offset: isize) {
    // SAFETY: the byte lies in a red zone of the object.
    let byte = unsafe { object.offset(offset) };
    // SAFETY: as the line before.
    unsafe { byte.write(0xbd) };
}

#[test]
fn a_write_after_the_free_is_found_at_the_next_allocation() {
    let machine = CheckedMachine::new();
    let layout = layout(100, 8);
    let object = machine.alloc_at(1, layout);
    machine.free_at(2, object, layout).unwrap();
    write(object, 99);
    let found = machine.checked().alloc(&machine.cpus[0], layout, machine.site(3)).unwrap_err();
    let address = object.addr().get();
    assert_eq!(found.misuse, Misuse::UseAfterFree { address, size: 100, offset: 99 });
    assert_eq!(machine.calls(found), [Some(1), Some(2)]);
}

#[test]
fn an_overwritten_record_is_found() {
    let machine = CheckedMachine::new();
    let layout = layout(100, 8);
    let object = machine.alloc_at(1, layout);
    let address = object.addr().get();
    write(object, -45);
    let found = machine.free_at(2, object, layout).unwrap_err();
    assert_eq!(found.misuse, Misuse::RecordOverwritten { address });
    assert_eq!(machine.calls(found), [None, None]);
}

#[test]
fn other_pointers_and_layouts_are_refused() {
    let machine = CheckedMachine::new();
    for size in [24, 3000, 100_000] {
        let own = layout(size, 8);
        let object = machine.alloc_at(1, own);
        let address = object.addr().get();
        for offset in [1, size - 1] {
            // SAFETY: the offset lies in the object.
            let inside = unsafe { object.add(offset) };
            let found = machine.free_at(2, inside, own).unwrap_err();
            assert_eq!(found.misuse, Misuse::Interior { address: inside.addr().get(), size });
            assert_eq!(machine.calls(found), [Some(1), None]);
        }
        for other in [layout(size + 1, 8), layout(size - 1, 8), layout(size, 128)] {
            let found = machine.free_at(2, object, other).unwrap_err();
            assert_eq!(found.misuse, Misuse::WrongLayout { address, size, layout: other });
        }
        machine.free_at(2, object, own).unwrap();
    }
    let mut elsewhere = [0u64; 8];
    let foreign = NonNull::from(&mut elsewhere).cast::<u8>();
    let found = machine.free_at(2, foreign, layout(64, 8)).unwrap_err();
    assert_eq!(found, Found::without_object(Misuse::Foreign { address: foreign.addr().get() }));
    machine.assert_all_free();
}

#[test]
fn live_objects_are_listed_by_their_sites() {
    let machine = CheckedMachine::new();
    let layout = layout(40, 8);
    let objects: Vec<_> = (0..6).map(|at| machine.alloc_at(1 + at % 2, layout)).collect();
    machine.free_at(9, objects[0], layout).unwrap();
    let mut live: Vec<_> =
        Sites(&machine.table).live().map(|site| (site.calls[0], site.objects, site.bytes)).collect();
    live.sort_unstable();
    assert_eq!(live, [(1, 2, 80), (2, 3, 120)]);
    objects[1..].iter().for_each(|object| machine.free_at(9, *object, layout).unwrap());
    machine.assert_all_free();
}

/// The frames of a slab that was released are used for other things; a new slab in them has no old records.
#[test]
fn a_new_slab_has_no_records() {
    let machine = CheckedMachine::new();
    for size in [24, 1000, 24] {
        let layout = layout(size, 8);
        let object = machine.alloc_at(1, layout);
        machine.free_at(2, object, layout).unwrap();
        machine.heap.drain(&machine.cpus);
        assert_eq!(machine.heap.frames(), 0);
        // SAFETY: the frame is free, and this test alone has the world's memory.
        unsafe { object.write_bytes(0x77, 24) };
    }
    machine.assert_all_free();
}
