//! An allocator that the stress can test, and the memory that it works on.

use core::cell::Cell;
use core::fmt;
use core::ops::Range;

use crate::cpu::PAGE_BYTES;
use crate::memory::Zeroable;
use crate::memory::frames::{FrameNumber, ORDERS, Order};
use crate::memory::source::FrameSource;

/// An allocator that the stress can test.
pub struct Allocator {
    /// Its name, on the command line and in reports.
    pub name: &'static str,
    /// Its description, in one sentence.
    pub summary: &'static str,
    /// Where its frames come from.
    pub backing: Backing,
}

/// The origin of an allocator's frames.
#[derive(Clone, Copy)]
pub enum Backing {
    /// It is the kernel's own allocator.
    Kernel,
    /// It works on free frames of the kernel, which it borrows for its run.
    Borrowed(Borrower),
}

/// The function that uses an allocator.
pub type Run<'a> = &'a mut dyn FnMut(&dyn FrameSource);

/// How to make an allocator that works on borrowed frames.
#[derive(Clone, Copy)]
pub struct Borrower {
    /// Returns the bytes of metadata that it needs, in memory of its own.
    pub metadata_bytes: fn(&Needs) -> usize,
    /// The shape of the memory that it works on.
    pub shape: MemoryShape,
    /// Makes the allocator on this memory, and passes it to the function, once. The allocator ends when the function returns.
    pub run: fn(&BorrowedMemory<'_>, Run<'_>),
}

/// What an allocator's metadata depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The frames that it gets at most.
    pub frames: usize,
    /// The number of contexts ([`AllocContext`](super::source::AllocContext)s).
    pub contexts: usize,
}

/// The shape of an allocator's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryShape {
    /// All free frames, in ranges with gaps between them.
    Ranges,
    /// One contiguous range alone, whose first frame is a multiple of the order's size, and whose length is too: of the largest range
    /// that there is, the first frames.
    Contiguous {
        /// The order.
        alignment: Order,
        /// The most frames, rounded up to the order's size. `None`: all of the range.
        most: Option<usize>,
    },
}

impl MemoryShape {
    /// The part of these ranges that has this shape.
    pub(in crate::stress) fn of(self, ranges: &mut heapless::Vec<Range<FrameNumber>, MAX_RANGES>) {
        let MemoryShape::Contiguous { alignment, .. } = self else { return };
        let frames = alignment.frames();
        let aligned = ranges.iter().map(|range| {
            let first = range.start.get().next_multiple_of(frames);
            let end = range.end.get() / frames * frames;
            FrameNumber::new(first)..FrameNumber::new(end.max(first))
        });
        let largest = aligned.max_by_key(|range| range.end - range.start);
        ranges.clear();
        ranges.extend(largest.map(|range| {
            let count = self.most_of(range.end - range.start);
            range.start..range.start + count
        }));
    }

    /// The most frames that the allocator gets where so many are free.
    fn most_of(self, free: usize) -> usize {
        match self {
            MemoryShape::Contiguous { alignment, most: Some(most) } => {
                most.checked_next_multiple_of(alignment.frames()).map_or(free, |most| most.min(free))
            }
            _ => free,
        }
    }
}

/// Joins ranges of which one begins where the other ends. The largest is the first afterwards. No frame is in two of them.
#[cfg(any(target_os = "none", test))]
pub(in crate::stress) fn join(ranges: &mut heapless::Vec<Range<FrameNumber>, MAX_RANGES>) {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined = 0;
    for index in 1..ranges.len() {
        let next = ranges[index].clone();
        if ranges[joined].end == next.start {
            ranges[joined].end = next.end;
        } else {
            joined += 1;
            ranges[joined] = next;
        }
    }
    ranges.truncate(joined + 1);
    ranges.sort_unstable_by_key(|range| core::cmp::Reverse(range.end - range.start));
}

/// The most ranges that are lent. After boot there are two or three of each order.
pub(in crate::stress) const MAX_RANGES: usize = 8 * ORDERS;

/// The memory of an allocator under test.
pub struct BorrowedMemory<'a> {
    /// The frames, in contiguous ranges.
    frames: &'a [Range<FrameNumber>],
    /// The number of contexts that use it, numbered from 0.
    contexts: usize,
    metadata: Cell<&'a mut [MetadataPage]>,
}

/// A page of metadata.
#[repr(C, align(4096))]
pub struct MetadataPage([u8; PAGE_BYTES]);

// SAFETY: zero must be a valid value. A `MetadataPage` is an array of bytes.
unsafe impl Zeroable for MetadataPage {}

impl MetadataPage {
    /// A page of zeros.
    pub const ZERO: MetadataPage = MetadataPage([0; PAGE_BYTES]);
}

impl<'a> BorrowedMemory<'a> {
    /// Borrowed memory with these frames and this metadata, which is zeroed.
    pub fn new(
        frames: &'a [Range<FrameNumber>],
        contexts: usize,
        metadata: &'a mut [MetadataPage],
    ) -> BorrowedMemory<'a> {
        metadata.fill_with(|| MetadataPage::ZERO);
        BorrowedMemory { frames, contexts, metadata: Cell::new(metadata) }
    }

    /// The frames, in contiguous ranges, the largest first.
    pub fn frames(&self) -> &'a [Range<FrameNumber>] {
        self.frames
    }

    /// The number of contexts that use the allocator, numbered from 0: first one for each CPU, then one for the timer handler
    /// of each.
    pub fn contexts(&self) -> usize {
        self.contexts
    }

    /// Takes `len` zeroed elements of the metadata. They begin on a page of their own, so several tables need the sum of their sizes, each
    /// rounded up to [`PAGE_BYTES`].
    ///
    /// # Panics
    /// If less is left of the metadata.
    #[track_caller]
    pub fn take_metadata<T: Zeroable>(&self, len: usize) -> &'a mut [T] {
        const { assert!(align_of::<T>() <= align_of::<MetadataPage>() && !core::mem::needs_drop::<T>()) };
        let metadata = self.metadata.take();
        let left = metadata.len();
        let pages = len.checked_mul(size_of::<T>()).map(|bytes| bytes.div_ceil(PAGE_BYTES));
        let taken = pages.and_then(|pages| metadata.split_at_mut_checked(pages));
        let Some((taken, rest)) = taken else {
            panic!("{len} elements do not fit in the {left} pages that are left of the metadata")
        };
        self.metadata.set(rest);
        // SAFETY: the slice must be in bounds, aligned, initialised and unique. `taken` has the bytes, and begins on a page, which the
        // assertion above compares with the alignment. `new` zeroed the bytes, and zero is a value of `T` (`Zeroable`). `split_at_mut`
        // gives these pages to nothing else.
        unsafe { core::slice::from_raw_parts_mut(taken.as_mut_ptr().cast(), len) }
    }
}

impl Allocator {
    /// Whether it is the kernel's own allocator.
    pub fn is_kernels(&self) -> bool {
        matches!(self.backing, Backing::Kernel)
    }

    /// The number of pages of metadata that it needs.
    pub fn metadata_pages(&self, needs: &Needs) -> usize {
        match self.backing {
            Backing::Kernel => 0,
            Backing::Borrowed(borrower) => {
                let needs = Needs { frames: borrower.shape.most_of(needs.frames), ..*needs };
                (borrower.metadata_bytes)(&needs).div_ceil(PAGE_BYTES)
            }
        }
    }
}

impl PartialEq for Allocator {
    fn eq(&self, other: &Allocator) -> bool {
        self.name == other.name
    }
}

impl Eq for Allocator {}

impl fmt::Debug for Allocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Allocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    fn ranges(of: &[(usize, usize)]) -> heapless::Vec<Range<FrameNumber>, MAX_RANGES> {
        of.iter().map(|(start, end)| FrameNumber::new(*start)..FrameNumber::new(*end)).collect()
    }

    #[test]
    fn ranges_that_touch_are_joined_and_the_largest_is_the_first() {
        // As the largest powers of two of a gap are allocated.
        let mut all = ranges(&[(0x100, 0x200), (0x40, 0x60), (0x80, 0x100), (0x200, 0x240), (0x20, 0x30)]);
        join(&mut all);
        assert_eq!(all, ranges(&[(0x80, 0x240), (0x40, 0x60), (0x20, 0x30)]));
        join(&mut all);
        assert_eq!(all.len(), 3);
        let mut none = ranges(&[]);
        join(&mut none);
        assert!(none.is_empty());
    }

    #[test]
    fn contiguous_memory_is_aligned_and_has_the_size_that_is_asked_for() {
        let order = |order| Order::new(order).unwrap();
        for (alignment, most, expected) in [
            (order(0), None, (0x85, 0x24b)),
            (order(0), Some(0x7), (0x85, 0x8c)),
            (order(4), None, (0x90, 0x240)),
            (order(4), Some(0x20), (0x90, 0xb0)),
            (order(4), Some(0x21), (0x90, 0xc0)),
            (order(4), Some(usize::MAX), (0x90, 0x240)),
        ] {
            let shape = MemoryShape::Contiguous { alignment, most };
            let mut memory = ranges(&[(0x85, 0x24b), (0x1000, 0x1010)]);
            shape.of(&mut memory);
            assert_eq!(memory, ranges(&[expected]), "{shape:?}");
        }
        // The metadata is that of the frames.
        let borrower = Borrower {
            metadata_bytes: |needs| needs.frames * PAGE_BYTES,
            shape: MemoryShape::Contiguous { alignment: order(4), most: Some(0x21) },
            run: |_, _| {},
        };
        let allocator = Allocator { name: "", summary: "", backing: Backing::Borrowed(borrower) };
        assert_eq!(allocator.metadata_pages(&Needs { frames: 1000, contexts: 1 }), 0x30);
        assert_eq!(allocator.metadata_pages(&Needs { frames: 10, contexts: 1 }), 10);
    }

    #[test]
    fn metadata_is_zeroed_and_each_page_taken_once() {
        let mut pages = [const { MetadataPage([0xa5; PAGE_BYTES]) }; 4];
        let memory = BorrowedMemory::new(&[], 4, &mut pages);
        let words: &mut [u64] = memory.take_metadata(PAGE_BYTES / 8 + 1);
        let bytes: &mut [u8] = memory.take_metadata(2 * PAGE_BYTES);
        assert!(words.iter().all(|word| *word == 0) && bytes.iter().all(|byte| *byte == 0));
        assert_eq!(bytes.as_ptr() as usize, words.as_ptr() as usize + 2 * PAGE_BYTES);
        words.fill(u64::MAX);
        assert!(bytes.iter().all(|byte| *byte == 0));
        let again =
            std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| memory.take_metadata::<u64>(1).len()));
        assert!(again.is_err());
    }

    #[test]
    fn too_many_elements_panic() {
        let mut pages = [MetadataPage::ZERO];
        for len in [PAGE_BYTES / 8 + 1, usize::MAX] {
            let memory = BorrowedMemory::new(&[], 4, &mut pages);
            let taken = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
                memory.take_metadata::<u64>(len).len()
            }));
            assert!(taken.is_err(), "{len}");
        }
    }
}
