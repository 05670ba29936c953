//! What lies at an address: the heap's side table. There is no header in an object.
//!
//! Memory is divided into granules of 32 KiB. A byte for each says whether it is a part of a slab, and of which class, or of a large object.
//! An allocation or a free needs no more. The record of a slab, or the size of a large object, is in a second table, which has a page of
//! entries for each 2 MiB that the heap uses.

use core::cell::UnsafeCell;
use core::ptr::{NonNull, null_mut, without_provenance_mut};
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicUsize, Ordering};

use super::backing::Backing;
use super::chunks::{ChunkSize, Chunks};
use super::size_class::SizeClass;

/// The size of a granule as a power of two.
const GRANULE_SHIFT: u32 = 15;
/// The size of a granule in bytes. Slabs and large objects begin at a multiple of it.
pub(super) const GRANULE: usize = 1 << GRANULE_SHIFT;
/// Granules with entries in one chunk.
const GRANULES_PER_BLOCK: usize = 64;

/// Memory above this offset is not used: the table of bytes is as long as the memory.
const LIMIT: usize = 1 << 40;

/// What a granule is a part of, if not of a slab: then the byte is the number of the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing of the heap.
    None,
    /// A slab of this class.
    Slab(SizeClass),
    /// A large object, which begins here.
    Large,
    /// A large object that begins in an earlier granule.
    LargeTail,
    /// A large object began here and was freed.
    Freed,
}

const NONE: u8 = 0xff;
const LARGE: u8 = 0xfe;
const LARGE_TAIL: u8 = 0xfd;
const FREED: u8 = 0xfc;

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Kind::None => NONE,
            Kind::Slab(class) => class.index() as u8,
            Kind::Large => LARGE,
            Kind::LargeTail => LARGE_TAIL,
            Kind::Freed => FREED,
        }
    }

    const fn from_byte(byte: u8) -> Kind {
        match byte {
            LARGE => Kind::Large,
            LARGE_TAIL => Kind::LargeTail,
            FREED => Kind::Freed,
            _ => match SizeClass::new(byte as usize) {
                Some(class) => Kind::Slab(class),
                None => Kind::None,
            },
        }
    }
}

/// The entries of the granules of 2 MiB.
#[repr(C)]
struct Entries([AtomicPtr<u8>; GRANULES_PER_BLOCK]);

const ENTRIES: ChunkSize = ChunkSize::containing(size_of::<Entries>());

/// What [`Map::init`] writes and nothing changes later. Not atomics: the compiler then reads them as operands of other instructions.
struct Fixed {
    base: usize,
    granules: usize,
    kinds: *const AtomicU8,
    blocks: *const AtomicPtr<Entries>,
    secret: u64,
}

/// The side table. Without memory until [`init`](Self::init), so that every lookup fails.
///
/// The table has room for all memory, but only a part of it is initialised: up to the highest address that the heap has used. So a machine with
/// much memory does not write a long table at boot.
pub(super) struct Map {
    fixed: UnsafeCell<Fixed>,
    /// How many granules are initialised: a multiple of those of a block.
    covered: AtomicUsize,
}

// SAFETY: nothing changes the fields while several CPUs use the map (`init`), and what the pointers lead to is atomic.
unsafe impl Sync for Map {}
// SAFETY: the pointers lead to memory that belongs to the map, whichever CPU uses it.
unsafe impl Send for Map {}

impl Map {
    pub(super) const fn new() -> Map {
        let (kinds, blocks) = (core::ptr::null(), core::ptr::null());
        let fixed = Fixed { base: 0, granules: 0, kinds, blocks, secret: 0 };
        Map { fixed: UnsafeCell::new(fixed), covered: AtomicUsize::new(0) }
    }

    #[inline(always)]
    fn fixed(&self) -> &Fixed {
        // SAFETY: nothing writes while there are such references: `init` has the map alone (see # Safety there).
        unsafe { &*self.fixed.get() }
    }

    /// The bytes of the table for memory that ends at this offset.
    pub(super) const fn bytes(end: usize) -> usize {
        let granules = Self::granules_of(end);
        granules.div_ceil(GRANULES_PER_BLOCK) * (size_of::<AtomicPtr<Entries>>() + GRANULES_PER_BLOCK)
    }

    const fn granules_of(end: usize) -> usize {
        let end = if end > LIMIT { LIMIT } else { end };
        end.div_ceil(GRANULE)
    }

    /// Sets the table up in `memory`. `secret` is written to free objects.
    ///
    /// # Safety
    /// `memory` has [`bytes`](Self::bytes) bytes, is aligned to 8, writable, and nothing else's as long as the map is used. No other CPU uses the
    /// map yet, and this is called once.
    pub(super) unsafe fn init(&self, memory: NonNull<u8>, base: usize, end: usize, secret: u64) {
        let granules = Self::granules_of(end);
        let blocks = granules.div_ceil(GRANULES_PER_BLOCK);
        let table = memory.cast::<AtomicPtr<Entries>>();
        // SAFETY: the bytes follow the pointers within the memory.
        let kinds = unsafe { table.add(blocks) }.cast::<AtomicU8>();
        let fixed = Fixed { base, granules, kinds: kinds.as_ptr(), blocks: table.as_ptr(), secret };
        // SAFETY: nothing else uses the map during this call, guaranteed by the caller (see # Safety).
        unsafe { *self.fixed.get() = fixed };
    }

    /// Initialises the table up to an offset, if it is not yet; whether that is below the end. The caller has the lock of the chunks.
    pub(super) fn cover(&self, _: &mut Chunks, end: usize) -> bool {
        let Fixed { base, granules, kinds, blocks, .. } = *self.fixed();
        let (covered, wanted) =
            (self.covered.load(Ordering::Relaxed), end.wrapping_sub(base).div_ceil(GRANULE));
        if wanted > granules {
            return false;
        }
        if wanted > covered {
            let wanted = wanted.next_multiple_of(GRANULES_PER_BLOCK);
            let block = covered / GRANULES_PER_BLOCK;
            // SAFETY: the table has a pointer for each block of granules, and nothing reads those behind the covered ones.
            let first = unsafe { blocks.add(block) }.cast_mut();
            // SAFETY: nothing reads the pointers behind the covered blocks; zeros are null pointers.
            unsafe { first.write_bytes(0, wanted / GRANULES_PER_BLOCK - block) };
            // SAFETY: the table has a byte for each granule of each block, and nothing reads those behind the covered ones.
            let first = unsafe { kinds.add(covered) }.cast_mut();
            // SAFETY: nothing reads the bytes behind the covered granules.
            unsafe { first.write_bytes(NONE, wanted - covered) };
            self.covered.store(wanted, Ordering::Release);
        }
        true
    }

    /// Whether it has memory.
    pub(super) fn is_initialised(&self) -> bool {
        self.fixed().granules != 0
    }

    /// The word that is written to free objects.
    #[inline(always)]
    pub(super) fn secret(&self) -> u64 {
        self.fixed().secret
    }

    /// The byte of the granule at an address.
    #[inline(always)]
    fn byte(&self, address: usize) -> Option<&AtomicU8> {
        let Fixed { base, kinds, .. } = *self.fixed();
        let granule = address.wrapping_sub(base) >> GRANULE_SHIFT;
        // An owner of an object has synchronised with the CPU that covered its address; for other addresses either answer is right.
        if granule >= self.covered.load(Ordering::Relaxed) {
            return None;
        }
        // SAFETY: `cover` has written so many bytes.
        let byte = unsafe { kinds.add(granule) };
        // SAFETY: `cover` has written the byte; the bytes are only used as atomics, and never freed.
        Some(unsafe { &*byte })
    }

    /// What the granule at an address is a part of.
    pub(super) fn kind(&self, address: usize) -> Kind {
        self.byte(address).map_or(Kind::None, |byte| Kind::from_byte(byte.load(Ordering::Relaxed)))
    }

    /// Whether a whole object of this class can begin at an address.
    #[inline(always)]
    pub(super) fn has_object(&self, class: SizeClass, address: usize) -> bool {
        let Some(byte) = self.byte(address) else { return false };
        byte.load(Ordering::Relaxed) == class.index() as u8 && class.is_start(address)
    }

    /// Sets the kind of the granules of a run.
    pub(super) fn set_kind(&self, first: NonNull<u8>, bytes: usize, kind: Kind) {
        for granule in 0..bytes.div_ceil(GRANULE) {
            if let Some(byte) = self.byte(first.addr().get() + granule * GRANULE) {
                byte.store(kind.byte(), Ordering::Relaxed);
            }
        }
    }

    /// Replaces the kind of one granule, if it has the first one; whether it had.
    pub(super) fn replace_kind(&self, address: usize, old: Kind, new: Kind) -> bool {
        self.byte(address).is_some_and(|byte| {
            byte.compare_exchange(old.byte(), new.byte(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    /// The pointer to the entries of the block at an address, and the index of the granule's entry.
    fn block(&self, address: usize) -> Option<(&AtomicPtr<Entries>, usize)> {
        let Fixed { base, blocks, .. } = *self.fixed();
        let granule = address.wrapping_sub(base) >> GRANULE_SHIFT;
        if granule >= self.covered.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: `cover` has written a pointer for each block of granules.
        let block = unsafe { blocks.add(granule / GRANULES_PER_BLOCK) };
        // SAFETY: `cover` has written the pointer; the pointers are only used as atomics, and never freed.
        Some((unsafe { &*block }, granule % GRANULES_PER_BLOCK))
    }

    /// The entry of the granule at an address: of a slab or large object that exists for as long as this is used.
    pub(super) fn entry(&self, address: usize) -> Option<NonNull<u8>> {
        let (block, index) = self.block(address)?;
        // SAFETY: the entries of a block are valid until the last slab or large object of the block is gone, which is not before
        // this call returns.
        let entries = unsafe { block.load(Ordering::Acquire).as_ref() }?;
        NonNull::new(entries.0[index].load(Ordering::Acquire))
    }

    /// The start of the large object at an address.
    pub(super) fn large_object(&self, address: usize) -> Option<usize> {
        let mut start = address & !(GRANULE - 1);
        while self.kind(start) == Kind::LargeTail {
            start = start.checked_sub(GRANULE)?;
        }
        (self.kind(start) == Kind::Large).then_some(start)
    }

    /// Sets the entry of the granule at an address, which is covered; whether there was memory for it. The caller has the lock of the chunks.
    pub(super) fn set_entry(
        &self,
        chunks: &mut Chunks,
        backing: &impl Backing,
        address: usize,
        entry: *mut u8,
    ) -> bool {
        let Some((block, index)) = self.block(address) else { return false };
        let mut entries = block.load(Ordering::Relaxed);
        if entries.is_null() {
            let Some(chunk) = chunks.alloc(backing, ENTRIES) else { return false };
            entries = chunk.as_ptr().cast();
            // SAFETY: the chunk has room for the entries and is unused. Zeros are null pointers.
            unsafe { entries.write_bytes(0, 1) };
            block.store(entries, Ordering::Release);
        }
        // SAFETY: the entries of a block are valid while the block points to them; only holders of the lock change that.
        unsafe { &*entries }.0[index].store(entry, Ordering::Release);
        true
    }

    /// Removes the entry of the granule at an address. The caller has the lock of the chunks, and nothing uses the entry any more.
    pub(super) fn clear_entry(&self, chunks: &mut Chunks, backing: &impl Backing, address: usize) {
        let Some((block, index)) = self.block(address) else { return };
        let entries = block.load(Ordering::Relaxed);
        let Some(chunk) = NonNull::new(entries.cast::<u8>()) else { return };
        // SAFETY: the entries of a block are valid while the block points to them; only holders of the lock change that.
        let all = unsafe { &*entries };
        all.0[index].store(null_mut(), Ordering::Release);
        if all.0.iter().all(|entry| entry.load(Ordering::Relaxed).is_null()) {
            block.store(null_mut(), Ordering::Release);
            // SAFETY: `set_entry` allocated the chunk from this pool, and the block no longer points to it. Only an owner of an object in this
            // block reads its entries, and there is none left.
            unsafe { chunks.free(backing, chunk) };
        }
    }
}

/// The entry of a large object: not a pointer, but odd.
pub(super) fn entry_of_frames(frames: usize) -> *mut u8 {
    without_provenance_mut(frames << 1 | 1)
}

/// The frames of the large object with that entry.
pub(super) fn frames_of_entry(entry: NonNull<u8>) -> usize {
    entry.addr().get() >> 1
}
