//! Every misuse is refused, and changes nothing.

use super::*;
use crate::heap::size_class::LARGEST;

fn at(object: NonNull<u8>, offset: usize) -> NonNull<u8> {
    // SAFETY: the tests stay in or right behind the memory of the heap.
    unsafe { object.add(offset) }
}

/// Miri cannot read the mark of a free object: see `has_word`.
#[test]
#[cfg(not(miri))]
fn a_double_free_is_refused_at_once() {
    let machine = Machine::new(2, 2);
    for size in [8, 64, 100, 4096, LARGEST, 100_000] {
        let layout = layout(size, 1);
        let object = machine.alloc(0, layout).unwrap();
        fill(object, size, 0xff);
        machine.free(0, object, layout).unwrap();
        let error = Err(Misuse::DoubleFree { address: object.addr().get() });
        assert_eq!(machine.free(0, object, layout), error, "{size}");
        assert_eq!(machine.free(1, object, layout), error, "by another CPU");
    }
    machine.assert_all_free();
}

/// An object whose mark was overwritten after its first free: its slab has it already when the second one returns.
#[test]
fn a_double_free_is_found_when_the_object_returns_to_its_slab() {
    let machine = Machine::new(2, 1);
    let layout = layout(64, 8);
    let object = machine.alloc(0, layout).unwrap();
    machine.free(0, object, layout).unwrap();
    fill(object, 64, 0);
    machine.free(0, object, layout).unwrap();
    let heap = machine.heap.heap();
    assert_eq!(heap.drain(&machine.cpus[0]), Err(Misuse::DoubleFree { address: object.addr().get() }));
    machine.assert_all_free();
}

#[test]
fn an_address_without_an_object_is_refused() {
    let machine = Machine::new(2, 1);
    let mut elsewhere = [0u64; 16];
    let foreign = NonNull::from(&mut elsewhere).cast::<u8>();
    for layout in [layout(8, 8), layout(64, 8), layout(100_000, 8)] {
        let error = Err(Misuse::Foreign { address: foreign.addr().get() });
        assert_eq!(machine.free(0, foreign, layout), error);
        // SAFETY: the heap refuses it.
        let resized = unsafe { machine.heap.heap().resize(foreign, layout, layout) };
        assert_eq!(resized, error.map(|()| true));
    }
    machine.assert_all_free();
}

/// Only the start of a large object that was freed is known to be one.
#[test]
fn an_address_in_a_freed_large_object_is_foreign() {
    let machine = Machine::new(2, 1);
    let layout = layout(100_000, 8);
    let object = machine.alloc(0, layout).unwrap();
    machine.free(0, object, layout).unwrap();
    let inside = at(object, 4096);
    assert_eq!(machine.free(0, inside, layout), Err(Misuse::Foreign { address: inside.addr().get() }));
    machine.assert_all_free();
}

#[test]
fn an_interior_pointer_is_refused() {
    let machine = Machine::new(2, 1);
    for size in [16, 24, 64, 80, 1000, LARGEST] {
        let wanted = layout(size, 1);
        let object = machine.alloc(0, wanted).unwrap();
        for offset in [1, 8, size / 2, size - 1] {
            let inner = at(object, offset);
            let found = machine.free(0, inner, wanted);
            assert!(
                matches!(found, Err(Misuse::Interior { address, size: of }) if address == inner.addr().get() && of >= size),
                "{found:?} for {size} + {offset}"
            );
        }
        machine.free(0, object, wanted).unwrap();
    }
    let large = machine.alloc(0, layout(200_000, 1)).unwrap();
    for offset in [1, 4096, 32 << 10, 100_000] {
        let inner = at(large, offset);
        let error = Err(Misuse::Interior { address: inner.addr().get(), size: 0 });
        assert_eq!(machine.free(0, inner, layout(200_000, 1)), error);
    }
    machine.free(0, large, layout(200_000, 1)).unwrap();
    machine.assert_all_free();
}

#[test]
fn another_layout_is_refused() {
    let machine = Machine::new(2, 1);
    for (size, wrong) in [(64, 65), (64, 56), (64, 100_000), (100_000, 64), (100_000, 200_000), (8, 9)] {
        let (right, wrong) = (layout(size, 1), layout(wrong, 1));
        let object = machine.alloc(0, right).unwrap();
        fill(object, size, 0);
        let found = machine.free(0, object, wrong);
        let is_refused = matches!(found, Err(Misuse::WrongLayout { address, size: of, layout })
            if address == object.addr().get() && of >= size && layout == wrong);
        assert!(is_refused, "{found:?} for {right:?} as {wrong:?}");
        machine.free(0, object, right).unwrap();
    }
    machine.assert_all_free();
}

/// A slab that was released has no objects any more.
#[test]
fn an_object_of_a_released_slab_is_refused() {
    let machine = Machine::new(2, 1);
    let layout = layout(64, 8);
    let object = machine.alloc(0, layout).unwrap();
    machine.free(0, object, layout).unwrap();
    machine.assert_all_free();
    assert_eq!(machine.free(0, object, layout), Err(Misuse::Foreign { address: object.addr().get() }));
}

#[test]
fn messages_name_the_address_and_the_layout() {
    let text = |misuse: Misuse| misuse.to_string();
    assert_eq!(text(Misuse::DoubleFree { address: 0x10 }), "double free of the heap object at 0x10");
    assert_eq!(text(Misuse::Foreign { address: 0x10 }), "free of 0x10, where the heap has no object");
    assert_eq!(
        text(Misuse::Interior { address: 0x10, size: 64 }),
        "free of 0x10, which is not the start of a heap object of 64 bytes"
    );
    assert_eq!(
        text(Misuse::WrongLayout { address: 0x10, size: 64, layout: layout(8, 4) }),
        "free of the heap object at 0x10, which has 64 bytes, with the layout of 8 bytes aligned to 4"
    );
}
