//! The allocators that the stress can run on. To add one, declare it in a file of its own and add a line to [`ALL`].

use core::cell::Cell;
use core::fmt;
use core::ops::Range;

use super::source::{FrameSource, LOCKED, MAGAZINE};
use crate::boot::command_line::Named;
use crate::memory::Zeroable;
use crate::memory::frames::FrameNumber;

/// All allocators, in the order in which they are listed.
const ALL: &[&Allocator] = &[&OCTOPOD, &MAGAZINE, &LOCKED];

/// How many allocators there are.
pub const COUNT: usize = ALL.len();

/// The kernel's allocator; on the host the same code, on the host's memory.
pub static OCTOPOD: Allocator = Allocator {
    name: "octopod",
    summary: "The kernel's own: a magazine of frames for each CPU, and shared buddies behind them.",
    backing: Backing::Kernel,
};

/// An allocator that can be stressed.
pub struct Allocator {
    /// Its name, on the command line and in reports.
    pub name: &'static str,
    /// What it is, in one sentence.
    pub summary: &'static str,
    /// Where its frames come from.
    pub backing: Backing,
}

/// Where the frames of an allocator come from.
#[derive(Clone, Copy)]
pub enum Backing {
    /// It is the kernel's own allocator.
    Kernel,
    /// It gets the kernel's free frames for the time of its run.
    Borrowed(Borrower),
}

/// What uses an allocator that was made.
pub type Run<'a> = &'a mut dyn FnMut(&dyn FrameSource);

/// How an allocator is made that works on borrowed frames.
#[derive(Clone, Copy)]
pub struct Borrower {
    /// How many bytes of metadata it needs, for that many contexts ([`AllocContext`](super::source::AllocContext)s).
    pub metadata_bytes: fn(contexts: usize) -> usize,
    /// Makes the allocator on this memory, and passes it to the function, once. It is not used when the function has returned.
    pub run: fn(&BorrowedMemory<'_>, Run<'_>),
}

/// What an allocator works on.
pub struct BorrowedMemory<'a> {
    /// The frames, in contiguous pieces.
    frames: &'a [Range<FrameNumber>],
    /// How many contexts will use it, numbered from 0.
    contexts: usize,
    metadata: Cell<&'a mut [Page]>,
}

/// A page of metadata.
#[repr(C, align(4096))]
pub struct Page([u8; PAGE_BYTES]);

/// Bytes of a [`Page`].
pub const PAGE_BYTES: usize = 4096;

// SAFETY: a `Page` is an array of bytes, of which zero is a value.
unsafe impl Zeroable for Page {}

impl Page {
    /// A page of zeroes.
    pub const ZERO: Page = Page([0; PAGE_BYTES]);
}

impl<'a> BorrowedMemory<'a> {
    /// Zeroes the metadata.
    pub fn new(
        frames: &'a [Range<FrameNumber>],
        contexts: usize,
        metadata: &'a mut [Page],
    ) -> BorrowedMemory<'a> {
        metadata.fill_with(|| Page::ZERO);
        BorrowedMemory { frames, contexts, metadata: Cell::new(metadata) }
    }

    /// The frames, in contiguous pieces, from the largest to the smallest.
    pub fn frames(&self) -> &'a [Range<FrameNumber>] {
        self.frames
    }

    /// How many contexts will use the allocator, numbered from 0: one of each CPU, then one of the timer handler of each.
    pub fn contexts(&self) -> usize {
        self.contexts
    }

    /// Takes all of the metadata as `len` zeroed elements.
    ///
    /// # Panics
    /// If the metadata is smaller, or has been taken before.
    pub fn take_metadata<T: Zeroable>(&self, len: usize) -> &'a mut [T] {
        const { assert!(align_of::<T>() <= align_of::<Page>() && !core::mem::needs_drop::<T>()) };
        let metadata = self.metadata.take();
        let bytes = len.checked_mul(size_of::<T>());
        let fits = bytes.is_some_and(|bytes| bytes <= size_of_val(metadata));
        assert!(fits, "{len} elements need more metadata than was asked for, or it has been taken before");
        // SAFETY: the slice has room for `len` elements, as asserted, and is aligned to a page, which is at least as much as `T`
        // needs. Its bytes are zero since `new`, which is a value of `T` (`Zeroable`). The borrow is unique: `take` has left
        // an empty slice in its place.
        unsafe { core::slice::from_raw_parts_mut(metadata.as_mut_ptr().cast(), len) }
    }
}

impl Allocator {
    /// Whether it is the kernel's own.
    pub fn is_kernels(&self) -> bool {
        matches!(self.backing, Backing::Kernel)
    }

    /// How many pages of metadata it needs, for that many contexts.
    pub fn metadata_pages(&self, contexts: usize) -> usize {
        match self.backing {
            Backing::Kernel => 0,
            Backing::Borrowed(borrower) => (borrower.metadata_bytes)(contexts).div_ceil(PAGE_BYTES),
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

impl Named for &'static Allocator {
    fn all() -> &'static [&'static Allocator] {
        ALL
    }

    fn name(&self) -> &'static str {
        self.name
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn metadata_is_zeroed_and_taken_once() {
        let mut pages = [const { Page([0xa5; PAGE_BYTES]) }; 2];
        let memory = BorrowedMemory::new(&[], 4, &mut pages);
        let words: &mut [u64] = memory.take_metadata(2 * PAGE_BYTES / 8);
        assert!(words.iter().all(|word| *word == 0));
        let again =
            std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| memory.take_metadata::<u64>(1).len()));
        assert!(again.is_err());
    }

    #[test]
    fn too_many_elements_are_refused() {
        let mut pages = [Page::ZERO];
        for len in [PAGE_BYTES / 8 + 1, usize::MAX] {
            let memory = BorrowedMemory::new(&[], 4, &mut pages);
            let taken = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
                memory.take_metadata::<u64>(len).len()
            }));
            assert!(taken.is_err(), "{len}");
        }
    }
}
