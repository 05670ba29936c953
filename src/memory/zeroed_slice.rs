//! A slice in frames of its own, for tables that are too large for a stack and are used for a limited time: [`ZeroedSlice`].

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use super::frames::{FRAME_BYTES, Order};
use super::owned::FrameRange;
use super::zeroable::Zeroable;

/// A slice of zero bytes at first. It owns its frames. Its drop frees them and drops no element.
pub(crate) struct ZeroedSlice<T> {
    /// `None` if there is nothing to store.
    frames: Option<FrameRange>,
    len: usize,
    _elements: PhantomData<T>,
}

impl<T: Zeroable> ZeroedSlice<T> {
    /// Allocates a slice of `len` elements, every byte of which is zero. `None` without memory.
    ///
    /// **Context:** thread or interrupt context; with interrupts on it may wait for other CPUs, as [`FrameRange::alloc`].
    pub(crate) fn new(len: usize) -> Option<ZeroedSlice<T>> {
        const { assert!(align_of::<T>() <= FRAME_BYTES && !core::mem::needs_drop::<T>()) };
        let frames = len.checked_mul(size_of::<T>())?.div_ceil(FRAME_BYTES);
        let frames = match frames {
            0 => None,
            frames => {
                let all = FrameRange::alloc(Order::containing(frames)?)?;
                let (mut used, rest) = all.split_at(frames);
                // The allocation is a power of two of frames: the rest is freed.
                drop(rest);
                used.zero();
                Some(used)
            }
        };
        Some(ZeroedSlice { frames, len, _elements: PhantomData })
    }

    /// How many frames it owns.
    pub(crate) fn frames(&self) -> usize {
        self.frames.as_ref().map_or(0, FrameRange::frames)
    }

    fn as_ptr(&self) -> *mut T {
        self.frames.as_ref().map_or(core::ptr::dangling_mut(), |frames| frames.as_ptr().cast())
    }
}

impl<T: Zeroable> Deref for ZeroedSlice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `new` has allocated and zeroed room for `len` elements, aligned to a page, or `T` has no size or `len` is 0.
        // Zeroes are a valid `T` (`Zeroable`), and only this borrow and `deref_mut` have led to them since.
        unsafe { core::slice::from_raw_parts(self.as_ptr(), self.len) }
    }
}

impl<T: Zeroable> DerefMut for ZeroedSlice<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: `new` has allocated and zeroed room for `len` elements, aligned to a page, or `T` has no size or `len` is 0.
        // Zeroes are a valid `T` (`Zeroable`), and `&mut self` excludes every other borrow of them.
        unsafe { core::slice::from_raw_parts_mut(self.as_ptr(), self.len) }
    }
}
