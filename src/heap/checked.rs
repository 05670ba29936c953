//! The checked heap: each object lies in a block of the heap, behind a record, and between two red zones. A free checks them. A free object is
//! filled with a poison, which is checked when its block is allocated again. The record has the sites of its allocation and of its free.
//!
//! ```text
//! block:  record | red zone | object | red zone
//! ```
//!
//! The record's first word is the heap's, which marks free objects by it. So the heap below is used as it is.

use core::alloc::Layout;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use super::allocator::Heap;
use super::backing::Backing;
use super::magazines::Magazines;
use super::map::{GRANULE, Kind};
use super::mark::FREE_BYTE;
use super::misuse::Misuse;
use super::sites::{SiteId, Sites};

/// The bytes of a red zone.
const ZONE: usize = 16;
/// What a red zone is filled with.
const ZONE_BYTE: u8 = 0xbd;
/// What a new object is filled with.
const NEW_BYTE: u8 = 0xcd;
/// The state of a block of a slab that was never allocated.
const NEVER: u64 = u64::from_ne_bytes([FREE_BYTE; 8]);

/// The record at the start of a block.
#[repr(C)]
struct Record {
    /// The heap's mark of free objects.
    mark: AtomicU64,
    /// Whether the object is live or free, mixed with all that follows but the sites.
    state: AtomicU64,
    /// The object's size in bytes.
    size: AtomicU64,
    /// Its offset in the block.
    front: AtomicU64,
    /// The site of the allocation, and in the upper half that of the free.
    sites: AtomicU64,
}

/// The least offset of an object in its block.
const FRONT: usize = 64;

const _: () = assert!(size_of::<Record>() + ZONE <= FRONT);

/// The state of a live object, before it is mixed.
const LIVE: u64 = 0x6c69_7665;
/// The state of a free object.
const FREE: u64 = 0x6672_6565;

/// The place of an object in its block, which follows from its layout.
#[derive(Clone, Copy)]
struct Shape {
    front: usize,
    block: Layout,
}

impl Shape {
    /// `None` if the block would be too large.
    fn of(layout: Layout) -> Option<Shape> {
        let front = FRONT.max(layout.align());
        let bytes = front.checked_add(layout.size())?.checked_add(ZONE)?;
        Some(Shape { front, block: Layout::from_size_align(bytes, layout.align()).ok()? })
    }
}

/// The layout of the block for an object, by which a caller knows how much memory is needed. `None` if it is too large.
pub fn block_layout(layout: Layout) -> Option<Layout> {
    Shape::of(layout).map(|shape| shape.block)
}

/// What the checked heap has found, and the object that it concerns, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What is wrong.
    pub misuse: Misuse,
    /// The site of the object's allocation.
    pub allocated: Option<SiteId>,
    /// The site of its free.
    pub freed: Option<SiteId>,
}

impl Found {
    /// Something of which no object is known.
    pub const fn without_object(misuse: Misuse) -> Found {
        Found { misuse, allocated: None, freed: None }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.misuse.fmt(f)
    }
}

/// A block of the heap, by its first byte.
#[derive(Clone, Copy)]
struct Block {
    start: NonNull<u8>,
}

impl Block {
    fn record(&self) -> &Record {
        // SAFETY: a block has more bytes than a record, and is aligned to 8; the heap owns it, and only atomic accesses are made to its record
        // while it does, but for the mark, which the heap accesses when no other CPU does.
        unsafe { self.start.cast::<Record>().as_ref() }
    }

    /// The state of a record that has this one, mixed so that a record that was overwritten, or that is of another block, has neither.
    fn mixed(&self, secret: u64, state: u64) -> u64 {
        let record = self.record();
        let (size, front) = (record.size.load(Ordering::Relaxed), record.front.load(Ordering::Relaxed));
        let words = [self.start.addr().get() as u64, size, front, state];
        words
            .iter()
            .fold(secret, |sum, word| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31))
    }

    /// The object's address and size. They lie in the block if the record has a valid state.
    fn object(&self) -> (NonNull<u8>, usize) {
        let record = self.record();
        let (size, front) = (record.size.load(Ordering::Relaxed), record.front.load(Ordering::Relaxed));
        (self.start.map_addr(|at| at.saturating_add(front as usize)), size as usize)
    }

    fn found(&self, misuse: Misuse) -> Found {
        let sites = self.record().sites.load(Ordering::Relaxed);
        let (allocated, freed) = (SiteId(sites as u32), SiteId((sites >> 32) as u32));
        Found {
            misuse,
            allocated: Some(allocated),
            freed: Some(freed).filter(|freed| *freed != SiteId::default()),
        }
    }
}

/// Fills bytes of the heap's memory that the caller owns.
///
/// # Safety
/// The bytes are valid for writes, and the caller's alone.
unsafe fn fill(start: NonNull<u8>, bytes: usize, byte: u8) {
    // SAFETY: guaranteed by the caller (see # Safety).
    unsafe { start.write_bytes(byte, bytes) };
}

/// The offset of the first byte that is not this one.
///
/// # Safety
/// The bytes are valid for reads, and were written.
unsafe fn first_other(start: NonNull<u8>, bytes: usize, byte: u8) -> Option<usize> {
    (0..bytes).find(|offset| {
        // SAFETY: the byte is one of those that are valid for reads, guaranteed by the caller (see # Safety).
        let at = unsafe { start.add(*offset) };
        // A program that misuses its objects may write meanwhile: a volatile read has some value then.
        // SAFETY: the byte is valid for reads and was written, guaranteed by the caller (see # Safety).
        unsafe { at.read_volatile() != byte }
    })
}

/// A heap with checks.
#[derive(Clone, Copy)]
pub struct CheckedHeap<'a, B> {
    /// The heap below.
    pub heap: &'a Heap<B>,
    /// The table of call sites.
    pub sites: Sites<'a>,
}

impl<B: Backing> CheckedHeap<'_, B> {
    fn secret(&self) -> u64 {
        self.heap.map.secret().rotate_left(23)
    }

    /// The block at an address of the heap. `None` where it has none, free or allocated.
    fn block(&self, pointer: NonNull<u8>) -> Option<Block> {
        let address = pointer.addr().get();
        let map = &self.heap.map;
        let start = match map.kind(address) {
            Kind::Slab(class) => {
                let slab = address & !(class.slab_bytes() - 1);
                let index = (address - slab) / class.size();
                if index >= class.objects() {
                    return None;
                }
                slab + index * class.size()
            }
            Kind::Large | Kind::LargeTail => map.large_object(address)?,
            Kind::None | Kind::Freed => return None,
        };
        let start = pointer.map_addr(|_| core::num::NonZero::new(start).unwrap_or(pointer.addr()));
        Some(Block { start })
    }

    /// Allocates an object. `None` if there is no memory.
    ///
    /// **Context:** as for [`Heap::alloc`].
    ///
    /// # Errors
    /// The block's last object was written to after its free.
    pub fn alloc(&self, cpu: &Magazines, layout: Layout, site: SiteId) -> Result<Option<NonNull<u8>>, Found> {
        let Some(shape) = Shape::of(layout) else { return Ok(None) };
        let Some(start) = self.heap.alloc(cpu, shape.block) else { return Ok(None) };
        // A block of frames is new. One of a slab was filled with the slab, or was an object's.
        let block = Block { start };
        if super::size_class::SizeClass::of(shape.block).is_some() {
            self.check_poison(start)?;
        }
        let record = block.record();
        record.size.store(layout.size() as u64, Ordering::Relaxed);
        record.front.store(shape.front as u64, Ordering::Relaxed);
        record.sites.store(site.0.into(), Ordering::Relaxed);
        let (object, size) = block.object();
        // SAFETY: the zone lies in the block before the object.
        let zone = unsafe { object.sub(ZONE) };
        // SAFETY: the block was just allocated, and has room for zone, object and zone.
        unsafe { fill(zone, ZONE, ZONE_BYTE) };
        // SAFETY: the block was just allocated, and has room for zone, object and zone.
        unsafe { fill(object, size, NEW_BYTE) };
        // SAFETY: the zone lies in the block behind the object.
        let zone = unsafe { object.add(size) };
        // SAFETY: the block was just allocated, and has room for zone, object and zone.
        unsafe { fill(zone, ZONE, ZONE_BYTE) };
        record.state.store(block.mixed(self.secret(), LIVE), Ordering::Release);
        self.sites.allocated(site, size);
        Ok(Some(object))
    }

    /// Checks that the last object of a block of a slab was not written to after its free.
    fn check_poison(&self, start: NonNull<u8>) -> Result<(), Found> {
        let Some(block) = self.block(start) else { return Ok(()) };
        let state = block.record().state.load(Ordering::Relaxed);
        if state == NEVER {
            return Ok(());
        }
        let (object, size) = block.object();
        let address = object.addr().get();
        if state != block.mixed(self.secret(), FREE) {
            return Err(block.found(Misuse::RecordOverwritten { address: start.addr().get() }));
        }
        // SAFETY: the record is valid, so the object lies in the block, which is this call's, and was filled when it was freed.
        match unsafe { first_other(object, size, FREE_BYTE) } {
            Some(offset) => Err(block.found(Misuse::UseAfterFree { address, size, offset })),
            None => Ok(()),
        }
    }

    /// Checks that a live object begins at a pointer and has this layout, and its red zones.
    ///
    /// **Context:** as for [`Heap::alloc`].
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, object: NonNull<u8>, layout: Layout) -> Result<(), Found> {
        self.checked_block(object, layout).map(drop)
    }

    fn checked_block(&self, object: NonNull<u8>, layout: Layout) -> Result<Block, Found> {
        let address = object.addr().get();
        let Some(block) = self.block(object) else {
            // A large object loses its record with its frames.
            let is_freed = self.heap.map.kind(address) == Kind::Freed
                && address % GRANULE == FRONT.max(layout.align()) % GRANULE;
            let misuse = if is_freed { Misuse::DoubleFree { address } } else { Misuse::Foreign { address } };
            return Err(Found::without_object(misuse));
        };
        let state = block.record().state.load(Ordering::Acquire);
        let (start, size) = block.object();
        if state == block.mixed(self.secret(), FREE) {
            return Err(block.found(match start == object {
                true => Misuse::DoubleFree { address },
                false => Misuse::Foreign { address },
            }));
        }
        if state == NEVER {
            return Err(Found::without_object(Misuse::Foreign { address }));
        }
        if state != block.mixed(self.secret(), LIVE) {
            // Sites that were overwritten as well would mislead.
            return Err(Found::without_object(Misuse::RecordOverwritten { address }));
        }
        let misuse = if start != object {
            Some(Misuse::Interior { address, size })
        } else if size != layout.size()
            || block.record().front.load(Ordering::Relaxed) != FRONT.max(layout.align()) as u64
        {
            Some(Misuse::WrongLayout { address, size, layout })
        } else {
            self.damage(start, size)
        };
        misuse.map_or(Ok(block), |misuse| Err(block.found(misuse)))
    }

    /// A write to a red zone of an object.
    fn damage(&self, object: NonNull<u8>, size: usize) -> Option<Misuse> {
        let address = object.addr().get();
        // SAFETY: the zone lies in the block before the object, whose record is valid.
        let zone = unsafe { object.sub(ZONE) };
        // SAFETY: the zone lies in the block, and was filled when the object was allocated.
        if let Some(offset) = unsafe { first_other(zone, ZONE, ZONE_BYTE) } {
            return Some(Misuse::Underrun { address, size, before: ZONE - offset });
        }
        // SAFETY: the zone lies in the block behind the object, whose record is valid.
        let zone = unsafe { object.add(size) };
        // SAFETY: the zone lies in the block, and was filled when the object was allocated.
        unsafe { first_other(zone, ZONE, ZONE_BYTE) }.map(|offset| Misuse::Overrun {
            address,
            size,
            offset: size + offset,
        })
    }

    /// Frees an object.
    ///
    /// **Context:** as for [`Heap::alloc`].
    ///
    /// # Errors
    /// What is wrong. Nothing has changed then.
    ///
    /// # Safety
    /// As for [`Heap::dealloc`].
    pub unsafe fn dealloc(
        &self,
        cpu: &Magazines,
        object: NonNull<u8>,
        layout: Layout,
        site: SiteId,
    ) -> Result<(), Found> {
        let block = self.checked_block(object, layout)?;
        let record = block.record();
        let (live, free) = (block.mixed(self.secret(), LIVE), block.mixed(self.secret(), FREE));
        // Of two frees at the same time, one finds the other's state.
        if record.state.compare_exchange(live, free, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return Err(block.found(Misuse::DoubleFree { address: object.addr().get() }));
        }
        let allocated = SiteId(record.sites.load(Ordering::Relaxed) as u32);
        record.sites.store(u64::from(site.0) << 32 | u64::from(allocated.0), Ordering::Relaxed);
        self.sites.freed(allocated, layout.size());
        // SAFETY: the object is the caller's, guaranteed by the caller (see # Safety), and lies in its block.
        unsafe { fill(object, layout.size(), FREE_BYTE) };
        let Some(shape) = Shape::of(layout) else { return Ok(()) };
        // SAFETY: `alloc` has allocated the block with the layout that follows from the object's, and nothing uses it any more.
        unsafe { self.heap.dealloc(cpu, block.start, shape.block) }.map_err(Found::without_object)
    }
}
