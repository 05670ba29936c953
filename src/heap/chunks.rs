//! The heap's own small blocks: magazines and the records of slabs. They lie in frames of their own, so that a write beyond an object reaches
//! none of them.
//!
//! A frame is cut into chunks of one size. Its first chunk is its header, with a bit for each free chunk. A frame of which all chunks are free
//! goes back at once.

use core::ptr::{NonNull, null_mut};

use super::backing::Backing;
use crate::memory::frames::{FRAME_BYTES, Order};

/// The size of the smallest chunk as a power of two.
const SMALLEST_SHIFT: u32 = 6;
/// The size of the largest chunk as a power of two.
const LARGEST_SHIFT: u32 = 10;
/// How many sizes of chunks there are.
const SIZES: usize = (LARGEST_SHIFT - SMALLEST_SHIFT + 1) as usize;

/// The size of a chunk: a power of two from 64 to 1,024 bytes. A chunk is aligned to its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkSize(u8);

impl ChunkSize {
    /// The smallest size with room for so many bytes.
    ///
    /// # Panics
    /// If there is none.
    pub(super) const fn containing(bytes: usize) -> ChunkSize {
        let mut shift = SMALLEST_SHIFT;
        while 1 << shift < bytes {
            shift += 1;
        }
        assert!(shift <= LARGEST_SHIFT, "a chunk has 1,024 bytes at most");
        ChunkSize(shift as u8)
    }

    /// The size in bytes.
    #[inline(always)]
    pub(super) const fn bytes(self) -> usize {
        1 << self.0
    }

    const fn index(self) -> usize {
        (self.0 as u32 - SMALLEST_SHIFT) as usize
    }

    /// The bits of the free chunks of an unused frame: all but the header's.
    const fn all(self) -> u64 {
        let chunks = FRAME_BYTES >> self.0;
        (u64::MAX >> (u64::BITS as usize - chunks)) & !1
    }
}

/// The start of a frame that is cut into chunks.
#[repr(C)]
struct Header {
    next: *mut Header,
    previous: *mut Header,
    /// A bit for each free chunk.
    free: u64,
    size: ChunkSize,
}

const _: () = assert!(size_of::<Header>() <= 1 << SMALLEST_SHIFT);

/// The frames with chunks. Those with free chunks are in a list for each size.
pub(super) struct Chunks {
    lists: [*mut Header; SIZES],
    frames: usize,
}

// SAFETY: the pointers lead to frames that belong to this pool alone.
unsafe impl Send for Chunks {}

impl Chunks {
    /// A pool without frames.
    pub(super) const fn new() -> Chunks {
        Chunks { lists: [null_mut(); SIZES], frames: 0 }
    }

    /// How many frames it has.
    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    /// Allocates a chunk, of unspecified content.
    pub(super) fn alloc(&mut self, backing: &impl Backing, size: ChunkSize) -> Option<NonNull<u8>> {
        let mut header = self.lists[size.index()];
        if header.is_null() {
            header = backing.alloc(Order::FRAME)?.as_ptr().cast::<Header>();
            // SAFETY: the frame must be writable and unused. `alloc` has just returned it.
            unsafe {
                header.write(Header { next: null_mut(), previous: null_mut(), free: size.all(), size })
            };
            self.frames += 1;
            self.link(header);
        }
        // SAFETY: headers in the lists are valid, and `&mut self` excludes other borrows.
        let free = unsafe { &mut (*header).free };
        let index = free.trailing_zeros() as usize;
        *free &= *free - 1;
        if *free == 0 {
            self.unlink(header);
        }
        // SAFETY: the chunk with that index lies in the frame.
        let chunk = unsafe { header.cast::<u8>().add(index << size.0) };
        NonNull::new(chunk)
    }

    /// Frees a chunk.
    ///
    /// # Safety
    /// [`alloc`](Self::alloc) of this pool returned it, with the same backing, and nothing uses it any more.
    pub(super) unsafe fn free(&mut self, backing: &impl Backing, chunk: NonNull<u8>) {
        let offset = chunk.addr().get() % FRAME_BYTES;
        // SAFETY: a chunk lies in its frame (see # Safety), so the start of the frame does as well.
        let header = unsafe { chunk.as_ptr().sub(offset) }.cast::<Header>();
        // SAFETY: a frame with chunks begins with a valid header, and `&mut self` excludes other borrows.
        let Header { free, size, .. } = unsafe { &mut *header };
        let was_full = *free == 0;
        *free |= 1 << (offset >> size.0);
        let is_unused = *free == size.all();
        if was_full {
            self.link(header);
        }
        if is_unused {
            self.unlink(header);
            self.frames -= 1;
            let first = NonNull::new(header.cast::<u8>()).expect("a frame with a chunk");
            // SAFETY: all chunks are free, and no list has the frame any more.
            unsafe { backing.free(first, 1) };
        }
    }

    fn link(&mut self, header: *mut Header) {
        // SAFETY: the frame has a valid header, and `&mut self` excludes other borrows.
        let this = unsafe { &mut *header };
        let list = &mut self.lists[this.size.index()];
        (this.next, this.previous) = (*list, null_mut());
        // SAFETY: the first header of the list is valid, and another one.
        if let Some(next) = unsafe { list.as_mut() } {
            next.previous = header;
        }
        *list = header;
    }

    fn unlink(&mut self, header: *mut Header) {
        // SAFETY: the frame has a valid header, and `&mut self` excludes other borrows.
        let Header { next, previous, size, .. } = *unsafe { &mut *header };
        // SAFETY: headers in the lists are valid, and this one is another.
        match unsafe { previous.as_mut() } {
            Some(previous) => previous.next = next,
            None => self.lists[size.index()] = next,
        }
        // SAFETY: headers in the lists are valid, and this one is another.
        if let Some(next) = unsafe { next.as_mut() } {
            next.previous = previous;
        }
    }
}
