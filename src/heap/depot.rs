//! The depot of a class on a node: the slabs with free objects, and the magazines that no CPU uses, full ones and empty ones.

use core::ptr::NonNull;

#[cfg(feature = "faults")]
use super::faults::{self, HeapFault};
use super::magazines::Magazine;
use super::size_class::SizeClass;
use super::slab::{Slab, SlabList};
use super::sync::Lock;

/// Full magazines that a depot has room for, in bytes of objects.
const FULL_BYTES: usize = 1 << 20;
/// Full magazines that a depot has room for, of any class.
const FEWEST_FULL: usize = 4;
const MOST_FULL: usize = 32;
/// Slabs with all of their objects that a depot has room for.
pub(super) const MOST_WHOLE: usize = 1;

/// Magazines in a list, linked by their first words.
#[derive(Default)]
struct Stack {
    first: Option<Magazine>,
    len: usize,
}

impl Stack {
    /// # Safety
    /// The magazine is valid and the caller's alone.
    unsafe fn push(&mut self, magazine: Magazine) {
        // SAFETY: the magazine is the caller's alone, guaranteed by the caller (see # Safety).
        unsafe { magazine.set_next(self.first) };
        self.first = Some(magazine);
        self.len += 1;
    }

    fn pop(&mut self) -> Option<Magazine> {
        let magazine = self.first?;
        // SAFETY: `push` has linked the magazine, and the depot is locked while this is borrowed.
        self.first = unsafe { magazine.next() };
        self.len -= 1;
        Some(magazine)
    }

    fn iter(&self) -> impl Iterator<Item = Magazine> {
        // SAFETY: `push` has linked the magazines, and the depot is locked while this is borrowed.
        core::iter::successors(self.first, |magazine| unsafe { magazine.next() })
    }
}

/// What the lock protects.
pub(super) struct Stock {
    full: Stack,
    empty: Stack,
    /// Slabs with at least one object; those with all of them are the last ones.
    pub(super) slabs: SlabList,
    /// How many of them have all.
    pub(super) whole: usize,
    /// How many slabs there are, those without objects as well.
    pub(super) slab_count: usize,
    /// How many objects are taken from all slabs.
    pub(super) taken: usize,
    /// The allocations that came to this depot.
    pub(super) requests: Requests,
}

/// Allocations whose CPU had no object at hand, and the bytes that they asked for: a sample of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Requests {
    pub(super) count: u64,
    pub(super) bytes: u64,
}

impl Requests {
    /// Counts an allocation.
    pub(super) fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }
}

// SAFETY: the pointers lead to memory of the heap, which belongs to the holder of the lock.
unsafe impl Send for Stock {}

impl Stock {
    fn new() -> Stock {
        let (full, empty) = (Stack::default(), Stack::default());
        Stock {
            full,
            empty,
            slabs: SlabList::new(),
            whole: 0,
            slab_count: 0,
            taken: 0,
            requests: Requests::default(),
        }
    }

    /// Exchanges an empty magazine, if the caller has one, for a full one. If there is no full one, the caller keeps its own.
    ///
    /// # Safety
    /// The empty magazine is valid and the caller's alone.
    pub(super) unsafe fn take_full(&mut self, empty: Option<Magazine>) -> Result<Magazine, Option<Magazine>> {
        let Some(full) = self.full.pop() else { return Err(empty) };
        if let Some(empty) = empty {
            // SAFETY: it is the caller's alone, guaranteed by the caller (see # Safety).
            unsafe { self.empty.push(empty) };
        }
        Ok(full)
    }

    /// Puts a full magazine in, if there is room; whether there was.
    ///
    /// # Safety
    /// The magazine is valid, of this class, full, and the caller's alone.
    pub(super) unsafe fn put_full(&mut self, class: SizeClass, full: Magazine) -> bool {
        let most = (FULL_BYTES / (class.size() * class.rounds())).clamp(FEWEST_FULL, MOST_FULL);
        let has_room = self.full.len < most;
        #[cfg(feature = "faults")]
        if has_room && faults::strikes(HeapFault::HeapLoseMagazine) {
            return true;
        }
        if has_room {
            // SAFETY: it is the caller's alone, guaranteed by the caller (see # Safety).
            unsafe { self.full.push(full) };
        }
        has_room
    }

    /// Takes a full magazine out.
    pub(super) fn pop_full(&mut self) -> Option<Magazine> {
        self.full.pop()
    }

    /// Takes an empty magazine out.
    pub(super) fn pop_empty(&mut self) -> Option<Magazine> {
        self.empty.pop()
    }

    /// How many objects are in its magazines.
    pub(super) fn cached(&self, class: SizeClass) -> usize {
        self.full.len * class.rounds()
    }

    /// Its full magazines.
    pub(super) fn full(&self) -> impl Iterator<Item = Magazine> {
        self.full.iter()
    }

    /// Takes a slab with all of its objects out, if there is one.
    pub(super) fn pop_whole(&mut self) -> Option<NonNull<Slab>> {
        // SAFETY: slabs in the list are valid, and the depot is locked while this is borrowed.
        let slab = self.slabs.last().filter(|slab| unsafe { Slab::state(*slab) }.is_whole())?;
        // SAFETY: it is in the list of this depot, which is locked while this is borrowed.
        unsafe { self.slabs.remove(slab) };
        self.whole -= 1;
        self.slab_count -= 1;
        Some(slab)
    }

    /// Adds a new slab.
    ///
    /// # Safety
    /// The record is valid, of this depot, with all of its objects, and the caller's alone.
    pub(super) unsafe fn add(&mut self, slab: NonNull<Slab>) {
        // SAFETY: the slab is the caller's alone, guaranteed by the caller (see # Safety).
        unsafe { self.slabs.insert(slab, false) };
        self.whole += 1;
        self.slab_count += 1;
    }

    /// Takes up to `room` objects from the slabs, and passes each to `out`; how many.
    pub(super) fn take(&mut self, room: usize, mut out: impl FnMut(NonNull<u8>)) -> usize {
        let mut taken = 0;
        while taken < room {
            let Some(slab) = self.slabs.first() else { break };
            // SAFETY: slabs in the list are valid, and the depot is locked while this is borrowed.
            let was_whole = unsafe { Slab::state(slab) }.is_whole();
            // SAFETY: the slab is in the list and valid, and the depot is locked while this is borrowed.
            taken += unsafe { Slab::take(slab, room - taken, &mut out) };
            // SAFETY: the slab is valid, and the depot is locked while this is borrowed.
            let is_empty = unsafe { Slab::state(slab) }.free() == 0;
            self.whole -= usize::from(was_whole);
            if is_empty {
                // SAFETY: it is the first of the list, and the depot is locked while this is borrowed.
                unsafe { self.slabs.remove(slab) };
            }
        }
        self.taken += taken;
        taken
    }

    /// Puts an object back into its slab. Returns the slab if it is too many with all of its objects: it is no longer in the list.
    ///
    /// # Errors
    /// The object is in its slab already. Nothing has changed then.
    ///
    /// # Safety
    /// The slab is valid and of this depot, and the object a whole one of it.
    pub(super) unsafe fn put(
        &mut self,
        slab: NonNull<Slab>,
        object: NonNull<u8>,
    ) -> Result<Option<NonNull<Slab>>, super::slab::NotTaken> {
        // SAFETY: the slab is valid and of this depot, which is locked while this is borrowed (see # Safety).
        let (before, after) = unsafe { Slab::put(slab, object) }?;
        self.taken -= 1;
        if before.free() > 0 && !after.is_whole() {
            return Ok(None);
        }
        if before.free() > 0 {
            // SAFETY: slabs with objects are in the list.
            unsafe { self.slabs.remove(slab) };
        }
        if after.is_whole() {
            if self.whole >= MOST_WHOLE {
                self.slab_count -= 1;
                return Ok(Some(slab));
            }
            self.whole += 1;
            #[cfg(feature = "faults")]
            // Whole slabs are rare.
            if faults::is_armed(HeapFault::HeapMiscount) {
                self.whole += 1;
            }
        }
        // SAFETY: the slab is valid and no longer, or not yet, in the list. Slabs of which objects are in use come first.
        unsafe { self.slabs.insert(slab, !after.is_whole()) };
        Ok(None)
    }
}

/// A depot. Adjacent ones share no pair of cache lines.
#[repr(align(128))]
pub(super) struct Depot(Lock<Stock>);

impl Depot {
    /// An empty depot.
    pub(super) fn new() -> Depot {
        Depot(Lock::new(Stock::new()))
    }

    /// Runs `f` with the lock held.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Stock) -> R) -> R {
        f(&mut self.0.lock())
    }

    /// The state of its lock.
    #[cfg(target_os = "none")]
    pub(super) const fn lock_owner(&self) -> &crate::sync::LockOwner {
        self.0.owner()
    }
}
