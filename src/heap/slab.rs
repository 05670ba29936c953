//! A slab: a run of frames that is cut into objects of one class. Its record lies elsewhere: a bitmap with a bit for each object that is in the
//! slab, and a packed state word.
//!
//! An object is *taken* while its bit is clear: it is allocated, or in a magazine. The depot's lock protects the record. The class and the node in the
//! state word never change; a CPU without the lock reads them.

use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicU64, Ordering};

use super::chunks::ChunkSize;
use super::size_class::{CLASSES, SizeClass};

const WORD_BITS: usize = u64::BITS as usize;

/// The size of slabs of classes up to [`LARGEST_IN_SMALL`] bytes.
const SMALL_BYTES: usize = 32 << 10;
const LARGEST_IN_SMALL: usize = 4 << 10;
/// Objects in a slab of a larger class, at least.
const FEWEST: usize = 8;

/// What is derived from a class: tables, because divisions are slow.
impl SizeClass {
    /// The size of its slabs in bytes, a power of two. A slab is aligned to it.
    #[inline(always)]
    pub(super) const fn slab_bytes(self) -> usize {
        if self.size() <= LARGEST_IN_SMALL { SMALL_BYTES } else { (self.size() * FEWEST).next_power_of_two() }
    }

    /// How many objects a slab has.
    pub(super) const fn objects(self) -> usize {
        self.slab_bytes() / self.size()
    }

    /// Words in the bitmap of a slab.
    pub(super) const fn words(self) -> usize {
        self.objects().div_ceil(WORD_BITS)
    }

    /// The size of the record of a slab.
    pub(super) const fn record(self) -> ChunkSize {
        ChunkSize::containing(size_of::<Slab>() + self.words() * size_of::<u64>())
    }

    /// Whether the object of this class at that address is a whole one: at a multiple of the size from the start of its slab.
    ///
    /// `n` is a multiple of `d` if and only if `n * ceil(2^64 / d)` modulo 2^64 is below that factor, for `n` and `d` below 2^32 (Lemire, Kaser,
    /// Kurz: *Faster remainder by direct computation*, 2019). For a power of two, the bits below it must be 0: the factor is 1 then.
    #[inline(always)]
    pub(super) fn is_start(self, address: usize) -> bool {
        // SAFETY: the number of a class is below the length of the tables, by its constructors.
        let factor = *unsafe { FACTORS.get_unchecked(self.index()) };
        // SAFETY: the number of a class is below the length of the tables, by its constructors.
        let mask = *unsafe { MASKS.get_unchecked(self.index()) };
        ((address & mask) as u64).wrapping_mul(factor) < factor
    }
}

/// The factor of [`SizeClass::is_start`] for each class.
const FACTORS: [u64; CLASSES] = {
    let mut factors = [0; CLASSES];
    let mut class = 0;
    while let Some(this) = SizeClass::new(class) {
        let size = this.size() as u64;
        factors[class] = if size.is_power_of_two() { 1 } else { u64::MAX / size + 1 };
        class += 1;
    }
    factors
};

/// The bits of an address that [`SizeClass::is_start`] checks, for each class.
const MASKS: [usize; CLASSES] = {
    let mut masks = [0; CLASSES];
    let mut class = 0;
    while let Some(this) = SizeClass::new(class) {
        let is_power = this.size().is_power_of_two();
        masks[class] = if is_power { this.size() } else { this.slab_bytes() } - 1;
        class += 1;
    }
    masks
};

/// The state word of a slab: how many objects are in it, its class, and the node of its depot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlabState(u64);

impl SlabState {
    const FREE_BITS: u32 = 16;
    const CLASS_BITS: u32 = 8;

    /// A slab with all of its objects.
    pub(super) const fn whole(class: SizeClass, node: usize) -> SlabState {
        let high = (node as u64) << Self::CLASS_BITS | class.index() as u64;
        SlabState(high << Self::FREE_BITS | class.objects() as u64)
    }

    /// How many objects are in the slab.
    pub(super) const fn free(self) -> usize {
        (self.0 & ((1 << Self::FREE_BITS) - 1)) as usize
    }

    /// The class of its objects.
    ///
    /// # Panics
    /// If the word is corrupt.
    pub(super) const fn class(self) -> SizeClass {
        let class = (self.0 >> Self::FREE_BITS) & ((1 << Self::CLASS_BITS) - 1);
        SizeClass::new(class as usize).expect("the state word of a slab is corrupt")
    }

    /// The node of the depot that has the slab.
    pub(super) const fn node(self) -> usize {
        (self.0 >> (Self::FREE_BITS + Self::CLASS_BITS)) as usize
    }

    /// After the removal of so many objects. `None` if it has fewer.
    pub(super) const fn take(self, count: usize) -> Option<SlabState> {
        if count <= self.free() { Some(SlabState(self.0 - count as u64)) } else { None }
    }

    /// After the return of an object. `None` if all were in the slab.
    pub(super) const fn put(self) -> Option<SlabState> {
        if self.free() < self.class().objects() { Some(SlabState(self.0 + 1)) } else { None }
    }

    /// Whether all of its objects are in the slab.
    pub(super) const fn is_whole(self) -> bool {
        self.free() == self.class().objects()
    }
}

/// An object that was in its slab already when it was freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotTaken;

/// The slabs next to one in a list, or null.
#[derive(Clone, Copy)]
struct Links {
    next: *mut Slab,
    previous: *mut Slab,
}

/// The record of a slab. The bitmap follows it.
#[repr(C)]
pub(super) struct Slab {
    links: Links,
    start: *mut u8,
    /// A [`SlabState`].
    state: AtomicU64,
}

impl Slab {
    /// Writes the record of a slab with all of its objects.
    ///
    /// # Safety
    /// `record` is writable, unused and of the size [`SizeClass::record`]; `start` is the slab's first byte.
    pub(super) unsafe fn create(
        record: NonNull<u8>,
        start: NonNull<u8>,
        class: SizeClass,
        node: usize,
    ) -> NonNull<Slab> {
        let slab = record.cast::<Slab>();
        let state = AtomicU64::new(SlabState::whole(class, node).0);
        let links = Links { next: null_mut(), previous: null_mut() };
        let this = Slab { links, start: start.as_ptr(), state };
        // SAFETY: the record is writable, aligned and unused, guaranteed by the caller (see # Safety).
        unsafe { slab.write(this) };
        for word in 0..class.words() {
            let bits = (class.objects() - word * WORD_BITS).min(WORD_BITS);
            // SAFETY: the record has so many words, by its size.
            let place = unsafe { Self::word(slab, word) };
            // SAFETY: the place lies in the record, which is writable and unused, guaranteed by the caller (see # Safety).
            unsafe { place.write(u64::MAX >> (WORD_BITS - bits)) };
        }
        slab
    }

    /// A word of the bitmap.
    ///
    /// # Safety
    /// The record has such a word.
    unsafe fn word(slab: NonNull<Slab>, index: usize) -> NonNull<u64> {
        // SAFETY: the bitmap follows the record.
        let bitmap = unsafe { slab.add(1) }.cast::<u64>();
        // SAFETY: the record has such a word, guaranteed by the caller (see # Safety).
        unsafe { bitmap.add(index) }
    }

    /// The state.
    ///
    /// # Safety
    /// The record is valid. For anything but its class and node, the caller holds the lock of its depot.
    #[inline(always)]
    pub(super) unsafe fn state(slab: NonNull<Slab>) -> SlabState {
        // SAFETY: the record is valid, guaranteed by the caller (see # Safety).
        let state = unsafe { &(*slab.as_ptr()).state };
        SlabState(state.load(Ordering::Relaxed))
    }

    /// Sets the state.
    ///
    /// # Safety
    /// The record is valid, and the caller holds the lock of its depot.
    unsafe fn set_state(slab: NonNull<Slab>, state: SlabState) {
        // SAFETY: the record is valid, guaranteed by the caller (see # Safety).
        unsafe { &(*slab.as_ptr()).state }.store(state.0, Ordering::Relaxed);
    }

    /// The first byte of the slab.
    ///
    /// # Safety
    /// The record is valid.
    pub(super) unsafe fn start(slab: NonNull<Slab>) -> NonNull<u8> {
        // SAFETY: the record is valid, guaranteed by the caller (see # Safety).
        let start = unsafe { (*slab.as_ptr()).start };
        // SAFETY: `create` has set it to the start of an allocation.
        unsafe { NonNull::new_unchecked(start) }
    }

    /// Takes up to `room` objects, those with the lowest addresses, and passes each to `out`; how many.
    ///
    /// # Safety
    /// The record is valid, and the caller holds the lock of its depot.
    pub(super) unsafe fn take(slab: NonNull<Slab>, room: usize, mut out: impl FnMut(NonNull<u8>)) -> usize {
        // SAFETY: the record is valid, guaranteed by the caller (see # Safety).
        let start = unsafe { Self::start(slab) };
        // SAFETY: the record is valid, and its depot is locked, guaranteed by the caller (see # Safety).
        let state = unsafe { Self::state(slab) };
        let class = state.class();
        let mut taken = 0;
        for index in 0..class.words() {
            if taken == room {
                break;
            }
            // SAFETY: the record has so many words, by its class.
            let mut word = unsafe { Self::word(slab, index) };
            // SAFETY: the record is valid and the caller's alone, guaranteed by the caller (see # Safety).
            let word = unsafe { word.as_mut() };
            while *word != 0 && taken < room {
                let object = index * WORD_BITS + word.trailing_zeros() as usize;
                *word &= *word - 1;
                taken += 1;
                // SAFETY: the object lies in the slab: only bits of objects are ever set.
                out(unsafe { start.add(object * class.size()) });
            }
        }
        let state = state.take(taken).expect("the bitmap of a slab has more objects than its state word");
        // SAFETY: the record is valid, and its depot is locked, guaranteed by the caller (see # Safety).
        unsafe { Self::set_state(slab, state) };
        taken
    }

    /// Puts an object back; the state before and after.
    ///
    /// # Errors
    /// It is in the slab already. Nothing has changed then.
    ///
    /// # Safety
    /// As for [`take`](Self::take), and the object is a whole one of this slab.
    pub(super) unsafe fn put(
        slab: NonNull<Slab>,
        object: NonNull<u8>,
    ) -> Result<(SlabState, SlabState), NotTaken> {
        // SAFETY: the record is valid, guaranteed by the caller (see # Safety).
        let start = unsafe { Self::start(slab) };
        // SAFETY: the record is valid, and its depot is locked, guaranteed by the caller (see # Safety).
        let state = unsafe { Self::state(slab) };
        let index = (object.addr().get() - start.addr().get()) / state.class().size();
        // SAFETY: the record has the word of each of its objects.
        let mut word = unsafe { Self::word(slab, index / WORD_BITS) };
        // SAFETY: the record is valid and the caller's alone, guaranteed by the caller (see # Safety).
        let word = unsafe { word.as_mut() };
        let bit = 1 << (index % WORD_BITS);
        if *word & bit != 0 {
            return Err(NotTaken);
        }
        let after = state.put().ok_or(NotTaken)?;
        *word |= bit;
        // SAFETY: the record is valid, and its depot is locked, guaranteed by the caller (see # Safety).
        unsafe { Self::set_state(slab, after) };
        Ok((state, after))
    }

    /// Whether the bitmap and the state word agree.
    ///
    /// # Safety
    /// As for [`take`](Self::take).
    pub(super) unsafe fn is_consistent(slab: NonNull<Slab>) -> bool {
        // SAFETY: the record is valid, guaranteed by the caller (see # Safety).
        let state = unsafe { Self::state(slab) };
        let words = 0..state.class().words();
        // SAFETY: the record has so many words, by its class.
        let words = words.map(|word| unsafe { Self::word(slab, word) });
        // SAFETY: the words lie in the record, which is valid, guaranteed by the caller (see # Safety).
        let free: u32 = words.map(|word| unsafe { word.read() }.count_ones()).sum();
        free as usize == state.free()
    }
}

/// A list of slabs, linked in both directions. A slab is in one list at most.
pub(super) struct SlabList {
    first: *mut Slab,
    last: *mut Slab,
}

impl SlabList {
    /// An empty list.
    pub(super) const fn new() -> SlabList {
        SlabList { first: null_mut(), last: null_mut() }
    }

    /// The first slab.
    pub(super) fn first(&self) -> Option<NonNull<Slab>> {
        NonNull::new(self.first)
    }

    /// The last slab.
    pub(super) fn last(&self) -> Option<NonNull<Slab>> {
        NonNull::new(self.last)
    }

    /// All slabs.
    pub(super) fn iter(&self) -> impl Iterator<Item = NonNull<Slab>> {
        // SAFETY: the slabs of a list are valid.
        core::iter::successors(self.first(), |slab| NonNull::new(unsafe { (*slab.as_ptr()).links.next }))
    }

    /// Adds a slab, as the first or the last one.
    ///
    /// # Safety
    /// The record is valid and in no list, and the caller holds the lock of its depot.
    pub(super) unsafe fn insert(&mut self, slab: NonNull<Slab>, as_first: bool) {
        let (previous, next) = if as_first { (null_mut(), self.first) } else { (self.last, null_mut()) };
        let slab = slab.as_ptr();
        // SAFETY: the record is valid and its links are the caller's, guaranteed by the caller (see # Safety).
        unsafe { (*slab).links = Links { next, previous } };
        // SAFETY: the links of the slabs of this list are the caller's, guaranteed by the caller (see # Safety).
        *unsafe { self.next_of(previous) } = slab;
        // SAFETY: the links of the slabs of this list are the caller's, guaranteed by the caller (see # Safety).
        *unsafe { self.previous_of(next) } = slab;
    }

    /// Removes a slab.
    ///
    /// # Safety
    /// It is in this list, and the caller holds the lock of its depot.
    pub(super) unsafe fn remove(&mut self, slab: NonNull<Slab>) {
        let slab = slab.as_ptr();
        // SAFETY: the links of the slabs of this list are the caller's, guaranteed by the caller (see # Safety).
        let Links { next, previous } = unsafe { (*slab).links };
        // SAFETY: the links of the slabs of this list are the caller's, guaranteed by the caller (see # Safety).
        *unsafe { self.next_of(previous) } = next;
        // SAFETY: the links of the slabs of this list are the caller's, guaranteed by the caller (see # Safety).
        *unsafe { self.previous_of(next) } = previous;
    }

    /// The link to what follows a slab of the list; that to the first slab if it is null. Only the link is borrowed: other CPUs read states.
    ///
    /// # Safety
    /// The slab is in this list or null, and the caller holds the lock of its depot.
    unsafe fn next_of(&mut self, slab: *mut Slab) -> &mut *mut Slab {
        if slab.is_null() {
            return &mut self.first;
        }
        // SAFETY: the slabs of a list are valid, and their links are the caller's (see # Safety).
        unsafe { &mut (*slab).links.next }
    }

    /// The link to what precedes a slab of the list; that to the last slab if it is null.
    ///
    /// # Safety
    /// As for [`next_of`](Self::next_of).
    unsafe fn previous_of(&mut self, slab: *mut Slab) -> &mut *mut Slab {
        if slab.is_null() {
            return &mut self.last;
        }
        // SAFETY: the slabs of a list are valid, and their links are the caller's (see # Safety).
        unsafe { &mut (*slab).links.previous }
    }
}
