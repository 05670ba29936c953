//! The checked heap: each misuse is found, with the sites of the object.

use super::checked_machine::CheckedMachine;
use super::*;
use crate::heap::checked::Found;
use crate::heap::size_class::{LARGEST, SizeClass};

fn machine() -> CheckedMachine {
    CheckedMachine::new(Machine::new(4, 2))
}

/// An object of CPU 0 that this call has allocated.
fn alloc(machine: &CheckedMachine, call: u64, layout: Layout) -> NonNull<u8> {
    machine.alloc(0, call, layout).unwrap().unwrap()
}

/// Writes a byte before, in or behind an object.
fn write(object: NonNull<u8>, offset: isize, value: u8) {
    // SAFETY: the tests write to red zones, records and free objects, which lie in the heap's memory.
    let byte = unsafe { object.offset(offset) };
    // SAFETY: no other thread uses the memory of this test's heap, in which the byte lies.
    unsafe { byte.write(value) };
}

/// Changes a byte that may have any value.
fn invert(object: NonNull<u8>, offset: isize) {
    // SAFETY: the byte lies in a record, which this test's heap has allocated.
    let byte = unsafe { object.offset(offset) };
    // SAFETY: the byte lies in a record, which this test's heap has initialised.
    let byte = unsafe { byte.read() };
    write(object, offset, !byte);
}

fn sizes() -> impl Iterator<Item = usize> {
    let classes = SizeClass::all().flat_map(|class| [class.size() - 1, class.size()]);
    classes.chain([LARGEST - 80, LARGEST + 1, 100_000])
}

#[test]
fn objects_of_any_size_are_whole_and_return_all_frames() {
    let machine = machine();
    for size in sizes() {
        for align in [1, 8, 16, 64, 128, 4096, 64 << 10] {
            let layout = layout(size, align);
            for _ in 0..3 {
                let object = alloc(&machine, 1, layout);
                assert!(object.addr().get().is_multiple_of(align), "{layout:?}");
                assert_eq!(machine.check(object, layout), Ok(()));
                fill(object, size, 0x11);
                assert_eq!(machine.free(0, 2, object, layout), Ok(()), "{layout:?}");
            }
        }
    }
    assert_eq!(machine.sites().live().count(), 0);
    machine.assert_all_free();
}

#[test]
fn a_double_free_names_both_sites() {
    let machine = machine();
    let layout = layout(24, 8);
    let object = alloc(&machine, 1, layout);
    machine.free(0, 2, object, layout).unwrap();
    let found = machine.free(0, 3, object, layout).unwrap_err();
    assert_eq!(found.misuse, Misuse::DoubleFree { address: object.addr().get() });
    assert_eq!(machine.calls(found), [Some(1), Some(2)]);
    machine.assert_all_free();
}

#[test]
fn a_double_free_of_a_large_object_is_found() {
    for align in [8, 64, 4 << 10, 32 << 10, 64 << 10] {
        let machine = machine();
        let layout = layout(100_000, align);
        let object = alloc(&machine, 1, layout);
        machine.free(0, 2, object, layout).unwrap();
        let found = machine.free(0, 3, object, layout).unwrap_err();
        assert_eq!(found.misuse, Misuse::DoubleFree { address: object.addr().get() }, "{align}");
        machine.assert_all_free();
    }
}

#[test]
fn a_write_outside_an_object_is_found_by_its_first_byte() {
    let machine = machine();
    for (size, align) in [(1, 1), (24, 8), (333, 8), (4096, 4096), (20_000, 8)] {
        let layout = layout(size, align);
        let behind = size as isize;
        // The zone before an object of a large alignment is longer.
        let front = if align > 64 { 1 - (align as isize - 48) } else { -16 };
        for offset in [behind, behind + 15, -1, -16, front] {
            let object = alloc(&machine, 1, layout);
            write(object, offset, 7);
            let found = machine.free(0, 2, object, layout).unwrap_err();
            let address = object.addr().get();
            let expected = match offset < 0 {
                false => Misuse::Overrun { address, size, offset: offset as usize },
                true => Misuse::Underrun { address, size, before: offset.unsigned_abs() },
            };
            assert_eq!((found.misuse, machine.calls(found)), (expected, [Some(1), None]));
            write(object, offset, 0xbd);
            machine.free(0, 2, object, layout).unwrap();
        }
    }
    machine.assert_all_free();
}

#[test]
fn a_write_after_the_free_is_found_at_the_next_allocation() {
    let machine = machine();
    let layout = layout(100, 8);
    let object = alloc(&machine, 1, layout);
    machine.free(0, 2, object, layout).unwrap();
    write(object, 99, 7);
    let found = machine.alloc(0, 3, layout).unwrap_err();
    let address = object.addr().get();
    assert_eq!(found.misuse, Misuse::UseAfterFree { address, size: 100, offset: 99 });
    assert_eq!(machine.calls(found), [Some(1), Some(2)]);
}

/// All of it but the heap's mark and the site of a free that has not been.
#[test]
fn an_overwritten_record_is_found() {
    let machine = machine();
    let layout = layout(100, 8);
    for offset in -48..=-17 {
        let object = alloc(&machine, 1, layout);
        invert(object, offset);
        let found = machine.free(0, 2, object, layout).unwrap_err();
        assert_eq!(found, Found::without_object(Misuse::RecordOverwritten { address: object.addr().get() }));
    }
}

/// So is that of a free object, when its block is allocated again.
#[test]
fn an_overwritten_record_of_a_free_object_is_found() {
    let machine = machine();
    let layout = layout(100, 8);
    let object = alloc(&machine, 1, layout);
    machine.free(0, 2, object, layout).unwrap();
    write(object, -17, 7);
    let found = machine.alloc(0, 3, layout).unwrap_err();
    let address = object.addr().get() - 64;
    assert_eq!(found, Found::without_object(Misuse::RecordOverwritten { address }));
}

#[test]
fn other_pointers_and_layouts_are_refused() {
    let machine = machine();
    for size in [24, 3000, 100_000] {
        let own = layout(size, 8);
        let object = alloc(&machine, 1, own);
        let address = object.addr().get();
        for offset in [1, size - 1] {
            // SAFETY: the offset lies in the object.
            let inside = unsafe { object.add(offset) };
            let found = machine.free(0, 2, inside, own).unwrap_err();
            assert_eq!(found.misuse, Misuse::Interior { address: inside.addr().get(), size });
            assert_eq!(machine.calls(found), [Some(1), None]);
        }
        for other in [layout(size + 1, 8), layout(size - 1, 8), layout(size, 128)] {
            let found = machine.free(0, 2, object, other).unwrap_err();
            assert_eq!(found.misuse, Misuse::WrongLayout { address, size, layout: other });
        }
        machine.free(0, 2, object, own).unwrap();
    }
    let mut elsewhere = [0u64; 8];
    let foreign = NonNull::from(&mut elsewhere).cast::<u8>();
    let found = machine.free(0, 2, foreign, layout(64, 8)).unwrap_err();
    assert_eq!(found, Found::without_object(Misuse::Foreign { address: foreign.addr().get() }));
    machine.assert_all_free();
}

#[test]
fn live_objects_are_listed_by_their_sites() {
    let machine = machine();
    let layout = layout(40, 8);
    let objects: Vec<_> = (0..6).map(|at| alloc(&machine, 1 + at % 2, layout)).collect();
    machine.free(0, 9, objects[0], layout).unwrap();
    let mut live: Vec<_> =
        machine.sites().live().map(|site| (site.calls[0], site.objects, site.bytes)).collect();
    live.sort_unstable();
    assert_eq!(live, [(1, 2, 80), (2, 3, 120)]);
    objects[1..].iter().for_each(|object| machine.free(0, 9, *object, layout).unwrap());
    machine.assert_all_free();
}

/// The frames of a slab that was released are used for other things; a new slab in them has no old records.
#[test]
fn a_new_slab_has_no_records() {
    let machine = machine();
    for size in [24, 1000, 24] {
        let layout = layout(size, 8);
        let object = alloc(&machine, 1, layout);
        machine.free(0, 2, object, layout).unwrap();
        machine.heap.drain(&machine.cpus);
        assert_eq!(machine.heap.frames(), 0);
        // SAFETY: the frame is free, and this test alone has the world's memory.
        unsafe { object.write_bytes(0x77, 24) };
    }
    machine.assert_all_free();
}
