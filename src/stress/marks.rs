//! The owner of each object, in the object's own memory.
//!
//! A mark is a word that depends on its address, on the owner, and on a key that each run draws. An allocated object has marks
//! until just before its free, so a mark in memory that the heap has just allocated belongs to another live object: either
//! the same memory was allocated twice, or two objects overlap. A mark that has changed when its object is freed shows that another
//! has written there. A false mark is as improbable as a guess of 50 bits.

use core::alloc::Layout;
use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::config::MAX_CPUS;
use crate::stress::owners::{HANDLER, OwnerId, OwnerName};

/// The bytes of a mark.
const WORD: usize = size_of::<u64>();
/// Larger objects have a mark in each line of this many bytes, and in each word of the first and of the last line.
const LINE: usize = 64;
/// Objects up to this size have a mark in each word.
const SMALL: usize = 256;

/// Bits of a mark: whether it is the first of its object, then the owner, then the bits that depend on address and key.
const FIRST: u64 = 1;
const HANDLER_BIT: u64 = 1 << 1;
const CPU_AT: u32 = 2;
const KEYED_AT: u32 = 14;

const _: () = assert!((MAX_CPUS as u64) << CPU_AT <= 1 << KEYED_AT);

/// The marks of one run.
pub struct Marks {
    key: u64,
    /// The addresses that objects may have, if they are known.
    bounds: Option<Range<usize>>,
    /// Whether every word of an object has a mark.
    every: bool,
}

/// A heap returned an object that it must not return, or an object has not kept its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectViolation {
    /// It was allocated while it had an owner.
    AllocatedTwice {
        /// Its address.
        address: usize,
        /// The owner.
        holder: OwnerId,
        /// The CPU that allocated it as well.
        receiver: OwnerId,
    },
    /// It shares memory with an object that has an owner.
    Overlap {
        /// Its address.
        address: usize,
        /// Its size in bytes.
        size: usize,
        /// The first offset that is shared.
        offset: usize,
        /// The owner of the other object.
        holder: OwnerId,
        /// The CPU that allocated this one.
        receiver: OwnerId,
    },
    /// Its content has changed.
    Changed {
        /// Its address.
        address: usize,
        /// Its size in bytes.
        size: usize,
        /// The offset of the first changed word or byte.
        offset: usize,
        /// Its owner.
        holder: OwnerId,
    },
    /// A resize has not kept its content.
    LostContent {
        /// Its address after the resize.
        address: usize,
        /// Its size before, in bytes.
        from: usize,
        /// Its size after.
        to: usize,
        /// The offset of the first changed byte.
        offset: usize,
        /// Its owner.
        holder: OwnerId,
    },
    /// It is not aligned to its layout's alignment.
    Misaligned {
        /// Its address.
        address: usize,
        /// The alignment.
        align: usize,
    },
    /// It is not in the heap's arena.
    OutsideArena {
        /// Its address.
        address: usize,
        /// Its size in bytes.
        size: usize,
    },
}

impl ObjectViolation {
    /// Whether memory had two owners.
    pub(crate) fn is_about_owners(&self) -> bool {
        matches!(self, ObjectViolation::AllocatedTwice { .. } | ObjectViolation::Overlap { .. })
    }
}

impl fmt::Display for ObjectViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ObjectViolation::AllocatedTwice { address, holder, receiver } => {
                let (receiver, holder) = (OwnerName(receiver), OwnerName(holder));
                write!(f, "object {address:#x} was allocated to {receiver} while {holder} had it")
            }
            ObjectViolation::Overlap { address, size, offset, holder, receiver } => {
                let (receiver, holder) = (OwnerName(receiver), OwnerName(holder));
                write!(
                    f,
                    "object {address:#x} of {size} bytes, allocated to {receiver}, overlaps an object of {holder} at offset {offset}"
                )
            }
            ObjectViolation::Changed { address, size, offset, holder } => {
                let holder = OwnerName(holder);
                write!(
                    f,
                    "object {address:#x} of {size} bytes was changed at offset {offset} while {holder} had it"
                )
            }
            ObjectViolation::LostContent { address, from, to, offset, holder } => {
                let holder = OwnerName(holder);
                write!(
                    f,
                    "object {address:#x} of {holder} lost its content at offset {offset}, resized from {from} to {to} bytes"
                )
            }
            ObjectViolation::Misaligned { address, align } => {
                write!(f, "object {address:#x} was allocated with alignment {align}")
            }
            ObjectViolation::OutsideArena { address, size } => {
                write!(f, "object {address:#x} of {size} bytes is not in the heap's arena")
            }
        }
    }
}

/// The owner's bits of a mark.
fn owner_bits(owner: OwnerId) -> u64 {
    match owner.checked_sub(HANDLER) {
        Some(cpu) => u64::from(cpu) << CPU_AT | HANDLER_BIT,
        None => u64::from(owner) << CPU_AT,
    }
}

/// The word at an address in an object.
fn word(address: usize) -> &'static AtomicU64 {
    // SAFETY: the word must be aligned, and valid for atomic access. It lies in an object that a heap has allocated, whose contract
    // makes it valid, and only marks are accessed there. A heap that allocates it twice has both owners access it atomically.
    unsafe { AtomicU64::from_ptr(core::ptr::with_exposed_provenance_mut(address)) }
}

/// The byte at an address in an object.
fn byte(address: usize) -> &'static AtomicU8 {
    // SAFETY: the byte must be valid for atomic access. It lies in an object that a heap has allocated, whose contract makes it
    // valid. A heap that allocates it twice has both owners access it atomically.
    unsafe { AtomicU8::from_ptr(core::ptr::with_exposed_provenance_mut(address)) }
}

impl Marks {
    /// Marks with a key of their own. `bounds` are the addresses that objects may have, if they are known. If `every` is true,
    /// every word of an object has a mark.
    pub fn new(bounds: Option<Range<usize>>, every: bool) -> Marks {
        static DRAWN: AtomicU64 = AtomicU64::new(1);
        // Marks that a broken heap has left behind must not be valid in the next run. Any bijection of the count will do.
        let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
        let key = (drawn.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ drawn >> 32).rotate_left(29);
        Marks { key, bounds, every }
    }

    /// The bits of a mark that depend on its address; the others are 0.
    #[inline(always)]
    fn keyed(&self, address: usize) -> u64 {
        // The upper bits of a product depend on all bits of its factors.
        ((address / WORD) as u64 ^ self.key).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> KEYED_AT << KEYED_AT
    }

    /// The owner of a valid mark, and whether it is the first of its object; `None` for any other word.
    fn decode(&self, address: usize, mark: u64) -> Option<(OwnerId, bool)> {
        if (mark ^ self.keyed(address)) >> KEYED_AT != 0 {
            return None;
        }
        let cpu = ((mark & ((1 << KEYED_AT) - 1)) >> CPU_AT) as OwnerId;
        let owner = if mark & HANDLER_BIT != 0 { HANDLER + cpu } else { cpu };
        Some((owner, mark & FIRST != 0))
    }

    /// The owner of an object of at least 16 bytes, by its first mark; `None` if that has changed.
    pub(crate) fn owner_of(&self, object: NonNull<u8>) -> Option<OwnerId> {
        let at = object.as_ptr().expose_provenance().next_multiple_of(WORD);
        self.decode(at, word(at).load(Ordering::Relaxed)).map(|(owner, _)| owner)
    }

    /// Calls `f` with the address of each marked word of an object, in ascending order, until it returns an error.
    #[inline(always)]
    fn each_word<E>(
        &self,
        address: usize,
        size: usize,
        mut f: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let first = address.next_multiple_of(WORD);
        let end = (address + size) / WORD * WORD;
        if self.every || size <= SMALL {
            return (first..end).step_by(WORD).try_for_each(f);
        }
        let (head, tail) = (first + LINE, end - LINE);
        (first..head).step_by(WORD).try_for_each(&mut f)?;
        (head.next_multiple_of(LINE)..tail).step_by(LINE).try_for_each(&mut f)?;
        (tail..end).step_by(WORD).try_for_each(f)
    }

    /// Calls `f` with the address of each byte that is in no whole word of an object, until it returns an error.
    fn each_edge<E>(
        &self,
        address: usize,
        size: usize,
        f: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<(), E> {
        if (address | size).is_multiple_of(WORD) {
            return Ok(());
        }
        let end = address + size;
        let first_word = address.next_multiple_of(WORD).min(end);
        let last_word = (end / WORD * WORD).max(first_word);
        (address..first_word).chain(last_word..end).try_for_each(f)
    }

    fn edge(&self, address: usize, holder: OwnerId) -> u8 {
        ((self.keyed(address) >> (KEYED_AT as usize + address % WORD)) ^ u64::from(holder)) as u8
    }

    /// Records that `receiver` has allocated an object.
    ///
    /// # Errors
    /// The object must not be used or freed: it is misplaced, or its memory has an owner, whose marks are unchanged.
    #[inline(always)]
    pub(crate) fn acquire(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        receiver: OwnerId,
    ) -> Result<(), ObjectViolation> {
        let (address, size) = (object.as_ptr().expose_provenance(), layout.size());
        if !address.is_multiple_of(layout.align()) {
            return Err(ObjectViolation::Misaligned { address, align: layout.align() });
        }
        if let Some(bounds) = &self.bounds
            && (address < bounds.start || address > bounds.end || bounds.end - address < size)
        {
            return Err(ObjectViolation::OutsideArena { address, size });
        }
        let found = self.each_word(address, size, |at| {
            let mark = word(at).load(Ordering::Relaxed);
            if (mark ^ self.keyed(at)) >> KEYED_AT == 0 { Err((at, mark)) } else { Ok(()) }
        });
        if let Err((at, mark)) = found {
            return Err(self.violation(address, size, at, mark, receiver));
        }
        self.mark(address, size, receiver);
        Ok(())
    }

    /// The violation that another owner's mark in a new object shows.
    #[cold]
    fn violation(
        &self,
        address: usize,
        size: usize,
        at: usize,
        mark: u64,
        receiver: OwnerId,
    ) -> ObjectViolation {
        let offset = at - address;
        match self.decode(at, mark) {
            Some((holder, true)) if offset < WORD => {
                ObjectViolation::AllocatedTwice { address, holder, receiver }
            }
            Some((holder, _)) => ObjectViolation::Overlap { address, size, offset, holder, receiver },
            None => ObjectViolation::Changed { address, size, offset, holder: receiver },
        }
    }

    /// Writes the marks of an object.
    #[inline(always)]
    fn mark(&self, address: usize, size: usize, owner: OwnerId) {
        let owner_bits = owner_bits(owner);
        let mut first = FIRST;
        let Ok(()) = self.each_word(address, size, |at| {
            word(at).store(self.keyed(at) | owner_bits | core::mem::take(&mut first), Ordering::Relaxed);
            Ok::<_, core::convert::Infallible>(())
        });
        let Ok(()) = self.each_edge(address, size, |at| {
            byte(at).store(self.edge(at, owner), Ordering::Relaxed);
            Ok::<_, core::convert::Infallible>(())
        });
    }

    /// Records that `holder` is about to free an object, and removes its marks.
    ///
    /// # Errors
    /// The object must not be freed: its content has changed. Marks up to there are removed.
    #[inline(always)]
    pub(crate) fn release(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        holder: OwnerId,
    ) -> Result<(), ObjectViolation> {
        let (address, size) = (object.as_ptr().expose_provenance(), layout.size());
        let owner_bits = owner_bits(holder);
        let mut first = FIRST;
        let found = self.each_word(address, size, |at| {
            let expected = self.keyed(at) | owner_bits | core::mem::take(&mut first);
            let found = word(at).load(Ordering::Relaxed);
            if found != expected {
                return Err((at, found));
            }
            word(at).store(0, Ordering::Relaxed);
            Ok(())
        });
        if let Err((at, found)) = found {
            return Err(self.changed(address, size, at, found, holder));
        }
        self.each_edge(address, size, |at| {
            if byte(at).load(Ordering::Relaxed) == self.edge(at, holder) { Ok(()) } else { Err(at) }
        })
        .map_err(|at| ObjectViolation::Changed { address, size, offset: at - address, holder })
    }

    /// The violation that a changed mark shows: another object's mark, or any other word.
    #[cold]
    fn changed(
        &self,
        address: usize,
        size: usize,
        at: usize,
        found: u64,
        holder: OwnerId,
    ) -> ObjectViolation {
        let offset = at - address;
        match self.decode(at, found) {
            Some((receiver, true)) if offset < WORD => {
                ObjectViolation::AllocatedTwice { address, holder, receiver }
            }
            Some((receiver, _)) => ObjectViolation::Overlap { address, size, offset, holder, receiver },
            None => ObjectViolation::Changed { address, size, offset, holder },
        }
    }

    /// Stores the next object of a list in an object of this CPU, which has at least four words: in the third and the fourth word,
    /// which have no marks until [`unlink`](Self::unlink).
    pub(crate) fn link(&self, object: NonNull<u8>, next: u64) {
        let at = object.as_ptr().expose_provenance() + 2 * WORD;
        word(at).store(next, Ordering::Relaxed);
        word(at + WORD).store(next ^ self.keyed(at), Ordering::Relaxed);
    }

    /// The next object of the list; the object has all of its marks again.
    ///
    /// # Errors
    /// The words have changed.
    pub(crate) fn unlink(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        holder: OwnerId,
    ) -> Result<u64, ObjectViolation> {
        let address = object.as_ptr().expose_provenance();
        let at = address + 2 * WORD;
        let (next, check) = (word(at).load(Ordering::Relaxed), word(at + WORD).load(Ordering::Relaxed));
        if next ^ self.keyed(at) != check {
            let (size, offset) = (layout.size(), at - address);
            return Err(ObjectViolation::Changed { address, size, offset, holder });
        }
        for at in [at, at + WORD] {
            word(at).store(self.keyed(at) | owner_bits(holder), Ordering::Relaxed);
        }
        Ok(next)
    }

    /// Fills an object without marks with content that depends on the offset only, for a resize.
    pub(crate) fn fill(&self, object: NonNull<u8>, size: usize) {
        let address = object.as_ptr().expose_provenance();
        self.offsets(size)
            .for_each(|offset| byte(address + offset).store(self.edge(offset, 0), Ordering::Relaxed));
    }

    /// The first offset whose content is not that of [`fill`](Self::fill), if there is one below `kept`. Removes it.
    pub(crate) fn lost(&self, object: NonNull<u8>, filled: usize, kept: usize) -> Option<usize> {
        let address = object.as_ptr().expose_provenance();
        let mut lost = None;
        for offset in self.offsets(filled).filter(|offset| *offset < kept) {
            if byte(address + offset).swap(0, Ordering::Relaxed) != self.edge(offset, 0) && lost.is_none() {
                lost = Some(offset);
            }
        }
        lost
    }

    /// The offsets of the bytes that are filled: all of a small object; else the first of each line or word, and the last byte.
    fn offsets(&self, size: usize) -> impl Iterator<Item = usize> + use<> {
        let step = match size <= SMALL {
            true => 1,
            false if self.every => WORD,
            false => LINE,
        };
        (0..size).step_by(step).chain((step > 1).then_some(size - 1))
    }
}

#[cfg(test)]
mod tests {
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
            assert!(
                violation.to_string().ends_with("was allocated to cpu 2 while the handler of cpu 1 had it")
            );
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
                            || offset == 0
                                && matches!(violation, Err(ObjectViolation::AllocatedTwice { .. })),
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
}
