//! Marks in memory of the host: acquired, released, doubled, overlapped and changed.

use std::alloc::{alloc, dealloc};

use super::*;
use crate::stress::owners::handler_of;

/// Memory of a test, aligned to a page.
struct Memory(NonNull<u8>);

const MEMORY: Layout = match Layout::from_size_align(16384, 4096) {
    Ok(layout) => layout,
    Err(_) => panic!("no layout"),
};

impl Memory {
    fn new() -> Memory {
        // SAFETY: the size is not 0.
        let start = NonNull::new(unsafe { alloc(MEMORY) }).unwrap();
        // SAFETY: the memory was just allocated with this size.
        unsafe { start.write_bytes(0xa5, MEMORY.size()) };
        Memory(start)
    }

    fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset < MEMORY.size());
        // SAFETY: the offset lies in the memory.
        unsafe { self.0.add(offset) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `new` allocated it with this layout.
        unsafe { dealloc(self.0.as_ptr(), MEMORY) };
    }
}

/// Changes a byte.
///
/// # Safety
/// The byte is the caller's, and initialised.
unsafe fn flip(byte: NonNull<u8>) {
    // SAFETY: the byte must be readable, guaranteed by the caller.
    let value = unsafe { byte.read() };
    // SAFETY: the byte must be writable, guaranteed by the caller.
    unsafe { byte.write(value ^ 0x10) };
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

#[test]
fn an_object_is_acquired_and_released_and_leaves_no_mark() {
    let memory = Memory::new();
    for every in [false, true] {
        let marks = Marks::new(None, every);
        for size in (1..600).chain([1000, 4096, 8192]) {
            for (offset, align) in [(0, 4096), (8, 8), (20, 4), (33, 1)] {
                for owner in [0, 7, MAX_CPUS - 1, handler_of(0), handler_of(MAX_CPUS - 1)] {
                    let (object, layout) = (memory.at(offset), layout(size, align));
                    assert_eq!(marks.acquire(object, layout, owner), Ok(()), "{size} {offset}");
                    assert_eq!(marks.release(object, layout, owner), Ok(()), "{size} {offset}");
                }
            }
        }
    }
}

#[test]
fn a_second_allocation_names_both_owners_and_changes_nothing() {
    let memory = Memory::new();
    let marks = Marks::new(None, false);
    for size in [8, 64, 100, 4096] {
        let (object, layout) = (memory.at(0), layout(size, 8));
        assert_eq!(marks.acquire(object, layout, handler_of(1)), Ok(()));
        let violation = marks.acquire(object, layout, 2).unwrap_err();
        let address = object.as_ptr().addr();
        assert_eq!(
            violation,
            ObjectViolation::AllocatedTwice { address, holder: handler_of(1), receiver: 2 }
        );
        assert!(violation.to_string().ends_with("was allocated to cpu 2 while the handler of cpu 1 had it"));
        assert_eq!(marks.release(object, layout, handler_of(1)), Ok(()));
    }
}

/// Two objects that share at least a word: every pair whose shared part begins or ends with one of them, and each pair of which
/// one has at most 256 bytes and lies at the begin of a line of the other.
#[test]
fn an_overlap_is_found_on_either_side() {
    let memory = Memory::new();
    let marks = Marks::new(None, false);
    for (size, other, offsets) in [
        (64, 64, (8..64).step_by(8)),
        (4096, 4096, (8..4096).step_by(8)),
        (4096, 64, (0..4096).step_by(64)),
        (1000, 16, (992 - 64..992).step_by(8)),
    ] {
        for offset in offsets {
            let (low, high) = ((memory.at(0), size), (memory.at(offset), other));
            for ((first, first_size), (second, second_size)) in [(low, high), (high, low)] {
                let (first_layout, second_layout) = (layout(first_size, 8), layout(second_size, 8));
                assert_eq!(marks.acquire(first, first_layout, 3), Ok(()));
                let violation = marks.acquire(second, second_layout, 4);
                assert!(
                    matches!(violation, Err(ObjectViolation::Overlap { holder: 3, receiver: 4, .. }))
                        || offset == 0 && matches!(violation, Err(ObjectViolation::AllocatedTwice { .. })),
                    "{size} {other} {offset}: {violation:?}"
                );
                assert_eq!(marks.release(first, first_layout, 3), Ok(()));
            }
        }
    }
}

#[test]
fn a_change_is_found_with_its_offset() {
    let marks = Marks::new(None, true);
    for (size, offset) in [(1, 0), (8, 3), (13, 12), (64, 47), (4096, 2007)] {
        let memory = Memory::new();
        let (object, layout) = (memory.at(0), layout(size, 1));
        assert_eq!(marks.acquire(object, layout, 5), Ok(()));
        let changed = memory.at(offset);
        // SAFETY: the byte is the test's.
        unsafe { flip(changed) };
        let violation = marks.release(object, layout, 5).unwrap_err();
        let whole_words = size / 8 * 8;
        let offset = if offset < whole_words { offset / 8 * 8 } else { offset };
        let address = object.as_ptr().addr();
        assert_eq!(violation, ObjectViolation::Changed { address, size, offset, holder: 5 }, "{size}");
    }
}

#[test]
fn a_misplaced_object_is_not_accessed() {
    let marks = Marks::new(Some(0x1000..0x3000), false);
    let at = |address: usize| NonNull::new(core::ptr::without_provenance_mut(address)).unwrap();
    let misaligned = ObjectViolation::Misaligned { address: 0x1008, align: 64 };
    assert_eq!(marks.acquire(at(0x1008), layout(64, 64), 0), Err(misaligned));
    for address in [0xff8, 0x2ff0, 0x3000, 0x7fff_ffff_fff0, usize::MAX - 15] {
        let outside = ObjectViolation::OutsideArena { address, size: 24 };
        assert_eq!(marks.acquire(at(address), layout(24, 8), 0), Err(outside), "{address:#x}");
    }
}

#[test]
fn marks_of_another_run_are_no_marks() {
    let memory = Memory::new();
    let layout = layout(64, 8);
    assert_eq!(Marks::new(None, false).acquire(memory.at(0), layout, 1), Ok(()));
    assert_eq!(Marks::new(None, false).acquire(memory.at(0), layout, 2), Ok(()));
}

#[test]
fn a_list_leads_from_object_to_object() {
    let memory = Memory::new();
    let marks = Marks::new(None, false);
    let layout = layout(64, 8);
    let mut head = 0;
    for number in 0..8 {
        let object = memory.at(number * 64);
        assert_eq!(marks.acquire(object, layout, 1), Ok(()));
        marks.link(object, head);
        head = number as u64 + 1;
    }
    for number in (0..8).rev() {
        let object = memory.at(number * 64);
        assert_eq!(marks.unlink(object, layout, 1), Ok(number as u64));
        assert_eq!(marks.release(object, layout, 1), Ok(()));
    }
    assert_eq!(marks.acquire(memory.at(0), layout, 1), Ok(()));
    marks.link(memory.at(0), 5);
    // SAFETY: the byte is the test's.
    unsafe { memory.at(17).write(1) };
    assert!(matches!(
        marks.unlink(memory.at(0), layout, 1),
        Err(ObjectViolation::Changed { offset: 16, .. })
    ));
}

#[test]
fn content_that_a_resize_loses_is_found() {
    let memory = Memory::new();
    let marks = Marks::new(None, false);
    for (size, kept) in [(1, 1), (24, 100), (256, 10), (1000, 4096), (4096, 65)] {
        let object = memory.at(0);
        marks.fill(object, size);
        assert_eq!(marks.lost(object, size, kept), None, "{size}");
        marks.fill(object, size);
        let last = (kept.min(size) - 1) / 64 * 64;
        // SAFETY: the byte is the test's.
        unsafe { flip(memory.at(last)) };
        assert_eq!(marks.lost(object, size, kept), Some(last), "{size}");
    }
}
