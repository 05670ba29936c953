//! Where a heap's memory comes from: [`Backing`].

use core::ptr::NonNull;

use crate::memory::frames::{FRAME_SHIFT, Order};

/// The source of a heap's frames.
///
/// # Safety
/// - `alloc` returns memory of `2^order` frames that is valid for reads and writes until it is freed, that nothing else uses, and whose offset
///   is a multiple of its size and below [`end`](Self::end).
/// - The memory of all offsets below `end` is mapped without a gap from the address [`base`](Self::base) on, as far as it exists. `base` is a
///   multiple of 1 MiB.
/// - None of the functions calls the heap.
pub(crate) unsafe trait Backing: Sync {
    /// The address of offset 0.
    fn base(&self) -> usize;

    /// The offset at which the memory ends.
    fn end(&self) -> usize;

    /// Allocates `2^order` naturally aligned frames. It does not wait for other CPUs.
    fn alloc(&self, order: Order) -> Option<NonNull<u8>>;

    /// Frees `frames` frames, all or the last ones of an allocation.
    ///
    /// # Safety
    /// The caller owns the frames, and nothing uses their memory any more.
    unsafe fn free(&self, first: NonNull<u8>, frames: usize);
}

/// The size of `order` in bytes, and the order of a size.
pub(super) const fn order_of_bytes(bytes: usize) -> Option<Order> {
    Order::containing(bytes.div_ceil(1 << FRAME_SHIFT))
}
