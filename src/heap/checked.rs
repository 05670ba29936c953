//! The checked heap: each object lies in a block of the heap, behind a record, and between two red zones. A free checks them. A free object is
//! filled with a poison, which is checked when its block is allocated again. The record has the sites of its allocation and of its free.
//!
//! ```text
//! block:  record | red zone | object | red zone
//! ```
//!
//! The record's first word is the heap's, which marks free objects by it. So the heap below is used as it is: it allocates and frees the blocks.

use core::alloc::Layout;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::allocator::Heap;
use super::backing::Backing;
use super::map::{GRANULE, Kind};
use super::mark::FREE_BYTE;
use super::misuse::Misuse;
use super::sites::{SiteId, Sites};
use super::size_class::SizeClass;

/// The bytes of a red zone. The one before an object is longer where its alignment leaves room.
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
    /// The site of the free, 0 before it. What lies further up is what a write before the object reaches first.
    freed: AtomicU64,
    /// Whether the object is live or free, mixed with all that follows.
    state: AtomicU64,
    /// The object's size in bytes.
    size: AtomicU64,
    /// Its offset in the block.
    front: AtomicU64,
    /// The site of the allocation.
    allocated: AtomicU64,
}

const RECORD: usize = size_of::<Record>();

/// The least offset of an object in its block.
const FRONT: usize = RECORD + ZONE;

const _: () = assert!(FRONT == 64);

/// The state of a live object, before it is mixed.
const LIVE: u64 = 0x6c69_7665;
/// The state of a free object.
const FREE: u64 = 0x6672_6565;

/// The place of an object in its block, which follows from its layout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    size: usize,
    front: usize,
    block: Layout,
}

impl Shape {
    /// `None` if the block would be too large.
    pub(crate) fn of(layout: Layout) -> Option<Shape> {
        let front = FRONT.max(layout.align());
        let bytes = front.checked_add(layout.size())?.checked_add(ZONE)?;
        let block = Layout::from_size_align(bytes, layout.align()).ok()?;
        Some(Shape { size: layout.size(), front, block })
    }

    /// The layout of the block.
    pub(crate) fn block(&self) -> Layout {
        self.block
    }
}

/// What the checked heap has found, and the object that it concerns, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// What is wrong.
    pub(crate) misuse: Misuse,
    /// The site of the object's allocation.
    pub(crate) allocated: Option<SiteId>,
    /// The site of its free.
    pub(crate) freed: Option<SiteId>,
}

impl Found {
    /// Something of which no object is known.
    pub(crate) const fn without_object(misuse: Misuse) -> Found {
        Found { misuse, allocated: None, freed: None }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.misuse.fmt(f)
    }
}

/// What a record says of its object, if its state confirms it.
#[derive(Clone, Copy)]
struct Content {
    size: u64,
    front: u64,
    allocated: u64,
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

    fn content(&self) -> Content {
        let Record { size, front, allocated, .. } = self.record();
        let [size, front, allocated] = [size, front, allocated].map(|word| word.load(Ordering::Relaxed));
        Content { size, front, allocated }
    }

    /// The state of a record with this content, mixed so that a record that was overwritten, or that is of another block, has neither.
    fn mixed(&self, content: Content, secret: u64, state: u64) -> u64 {
        let Content { size, front, allocated } = content;
        let words = [self.start.addr().get() as u64, size, front, allocated, state];
        words
            .iter()
            .fold(secret, |sum, word| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31))
    }

    /// The red zone before the object, the object, and the red zone behind it: the first byte and the length of each.
    ///
    /// # Safety
    /// The state of the block's record confirms the content.
    unsafe fn parts(&self, content: Content) -> [(NonNull<u8>, usize); 3] {
        let (size, front) = (content.size as usize, content.front as usize);
        // SAFETY: the zone before the object begins behind the record, in the block.
        let zone = unsafe { self.start.add(RECORD) };
        // SAFETY: the object lies in the block, at the offset that `set_up` has computed: the content is confirmed (see # Safety).
        let object = unsafe { self.start.add(front) };
        // SAFETY: `set_up` has left room for a zone behind the object: the content is confirmed (see # Safety).
        let behind = unsafe { object.add(size) };
        [(zone, front - RECORD), (object, size), (behind, ZONE)]
    }

    fn found(&self, misuse: Misuse) -> Found {
        let Record { allocated, freed, .. } = self.record();
        let site = |word: &AtomicU64| SiteId(word.load(Ordering::Relaxed) as u32);
        let freed = Some(site(freed)).filter(|freed| *freed != SiteId::default());
        Found { misuse, allocated: Some(site(allocated)), freed }
    }
}

/// The offset of the first byte that is not this one.
///
/// # Safety
/// The bytes are valid for reads, and were written.
unsafe fn first_other((start, bytes): (NonNull<u8>, usize), byte: u8) -> Option<usize> {
    (0..bytes).find(|offset| {
        // SAFETY: the byte is one of those that are valid for reads, guaranteed by the caller (see # Safety).
        let at = unsafe { start.add(*offset) };
        // A program that misuses its objects may write meanwhile, so this is no plain read.
        // SAFETY: the byte is valid for reads and was written, guaranteed by the caller (see # Safety).
        unsafe { AtomicU8::from_ptr(at.as_ptr()) }.load(Ordering::Relaxed) != byte
    })
}

/// The checks of a heap, all of whose allocations are blocks.
#[derive(Clone, Copy)]
pub(crate) struct CheckedHeap<'a, B> {
    heap: &'a Heap<B>,
    sites: Sites<'a>,
}

impl<'a, B: Backing> CheckedHeap<'a, B> {
    /// The checks of this heap, with this table of call sites.
    ///
    /// # Safety
    /// [`Heap::fill_slabs`] was called before anything was allocated from the heap. Of what was allocated, everything is a block that
    /// [`set_up`](Self::set_up) has got, and of what was freed, everything one that [`retire`](Self::retire) has returned.
    pub(crate) const unsafe fn new(heap: &'a Heap<B>, sites: Sites<'a>) -> CheckedHeap<'a, B> {
        CheckedHeap { heap, sites }
    }

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

    /// Makes an object in a new block.
    ///
    /// **Context:** any. It takes a time that grows with the object's size.
    ///
    /// # Errors
    /// The block's last object was written to after its free. The block stays allocated then.
    ///
    /// # Safety
    /// [`Heap::alloc`] of this heap has returned the block for the layout [`Shape::block`], and it was passed to nothing else.
    pub(crate) unsafe fn set_up(
        &self,
        start: NonNull<u8>,
        shape: Shape,
        site: SiteId,
    ) -> Result<NonNull<u8>, Found> {
        let block = Block { start };
        // A block of frames is new. One of a slab was filled with the slab, or was an object's.
        if SizeClass::of(shape.block).is_some() {
            self.check_poison(block)?;
        }
        let (size, front) = (shape.size as u64, shape.front as u64);
        let content = Content { size, front, allocated: site.0.into() };
        let record = block.record();
        record.size.store(size, Ordering::Relaxed);
        record.front.store(front, Ordering::Relaxed);
        record.allocated.store(content.allocated, Ordering::Relaxed);
        record.freed.store(0, Ordering::Relaxed);
        // SAFETY: the content is that of a block of this shape.
        let parts = unsafe { block.parts(content) };
        for ((part, bytes), byte) in parts.into_iter().zip([ZONE_BYTE, NEW_BYTE, ZONE_BYTE]) {
            // SAFETY: the part lies in the block, which is this call's alone, guaranteed by the caller (see # Safety).
            unsafe { part.write_bytes(byte, bytes) };
        }
        record.state.store(block.mixed(content, self.secret(), LIVE), Ordering::Release);
        self.sites.allocated(site, shape.size);
        Ok(parts[1].0)
    }

    /// Checks that the last object of a block of a slab was not written to after its free.
    fn check_poison(&self, block: Block) -> Result<(), Found> {
        let state = block.record().state.load(Ordering::Relaxed);
        if state == NEVER {
            return Ok(());
        }
        let content = block.content();
        if state != block.mixed(content, self.secret(), FREE) {
            let address = block.start.addr().get();
            return Err(Found::without_object(Misuse::RecordOverwritten { address }));
        }
        // SAFETY: the state confirms the content, as checked before.
        let [_, object, _] = unsafe { block.parts(content) };
        // SAFETY: the object lies in the block, and was filled when it was freed.
        match unsafe { first_other(object, FREE_BYTE) } {
            Some(offset) => {
                let (address, size) = (object.0.addr().get(), object.1);
                Err(block.found(Misuse::UseAfterFree { address, size, offset }))
            }
            None => Ok(()),
        }
    }

    /// Checks that a live object begins at a pointer and has this layout, and its red zones.
    ///
    /// **Context:** any.
    ///
    /// # Errors
    /// What is wrong.
    ///
    /// # Safety
    /// As for [`retire`](Self::retire).
    pub(crate) unsafe fn check(&self, object: NonNull<u8>, layout: Layout) -> Result<(), Found> {
        self.find(object, layout).map(drop)
    }

    /// The block of a live object, with its content and its shape, if nothing is wrong.
    fn find(&self, object: NonNull<u8>, layout: Layout) -> Result<(Block, Content, Shape), Found> {
        let address = object.addr().get();
        let foreign = Found::without_object(Misuse::Foreign { address });
        let shape = Shape::of(layout).ok_or(foreign)?;
        let Some(block) = self.block(object) else {
            // A large object loses its record with its frames.
            let start = address.saturating_sub(shape.front);
            let is_freed = self.heap.map.kind(start) == Kind::Freed && start.is_multiple_of(GRANULE);
            let double_free = Found::without_object(Misuse::DoubleFree { address });
            return Err(if is_freed { double_free } else { foreign });
        };
        let state = block.record().state.load(Ordering::Acquire);
        let content = block.content();
        let is_start = block.start.addr().get().checked_add(content.front as usize) == Some(address);
        if state == block.mixed(content, self.secret(), FREE) {
            return Err(if is_start { block.found(Misuse::DoubleFree { address }) } else { foreign });
        }
        if state == NEVER {
            return Err(foreign);
        }
        if state != block.mixed(content, self.secret(), LIVE) {
            // Sites that were overwritten as well would mislead.
            return Err(Found::without_object(Misuse::RecordOverwritten { address }));
        }
        let size = content.size as usize;
        let misuse = if !is_start {
            Some(Misuse::Interior { address, size })
        } else if size != layout.size() || content.front != shape.front as u64 {
            Some(Misuse::WrongLayout { address, size, layout })
        } else {
            // SAFETY: the state confirms the content, as checked before.
            Self::damage(unsafe { block.parts(content) })
        };
        misuse.map_or(Ok((block, content, shape)), |misuse| Err(block.found(misuse)))
    }

    /// A write to a red zone of a live object, which has these parts.
    fn damage([before, (object, size), behind]: [(NonNull<u8>, usize); 3]) -> Option<Misuse> {
        let address = object.addr().get();
        // SAFETY: the zone lies in a block with a valid record, and was filled when the object was allocated.
        if let Some(offset) = unsafe { first_other(before, ZONE_BYTE) } {
            return Some(Misuse::Underrun { address, size, before: before.1 - offset });
        }
        // SAFETY: the zone lies in a block with a valid record, and was filled when the object was allocated.
        let offset = unsafe { first_other(behind, ZONE_BYTE) }?;
        Some(Misuse::Overrun { address, size, offset: size + offset })
    }

    /// Ends an object. Returns its block, which the caller frees with that layout.
    ///
    /// **Context:** any. It takes a time that grows with the object's size.
    ///
    /// # Errors
    /// What is wrong. Nothing has changed then.
    ///
    /// # Safety
    /// [`set_up`](Self::set_up) has returned the object for this layout, it has not been retired since, and nothing uses it any more. What is
    /// certain to be refused is no violation.
    pub(crate) unsafe fn retire(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        site: SiteId,
    ) -> Result<(NonNull<u8>, Layout), Found> {
        let (block, content, shape) = self.find(object, layout)?;
        let record = block.record();
        let [live, free] = [LIVE, FREE].map(|state| block.mixed(content, self.secret(), state));
        // Of two frees at the same time, one finds the other's state.
        if record.state.compare_exchange(live, free, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return Err(block.found(Misuse::DoubleFree { address: object.addr().get() }));
        }
        record.freed.store(site.0.into(), Ordering::Relaxed);
        self.sites.freed(SiteId(content.allocated as u32), layout.size());
        // SAFETY: the object is the caller's, guaranteed by the caller (see # Safety), and lies in its block.
        unsafe { object.write_bytes(FREE_BYTE, layout.size()) };
        Ok((block.start, shape.block))
    }
}
