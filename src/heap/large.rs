//! Large objects: those above the largest size class. Each is a run of frames; its entry in the map is the number of these.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::allocator::Heap;
use super::backing::{Backing, order_of_bytes};
use super::map::{GRANULE, Kind, entry_of_frames, frames_of_entry};
use super::misuse::Misuse;
use crate::memory::frames::{FRAME_BYTES, FRAME_SHIFT};

impl<B: Backing> Heap<B> {
    /// Objects above the largest class: runs of frames.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_large(&self, layout: Layout) -> Option<NonNull<u8>> {
        if !self.map.is_initialised() {
            return None;
        }
        let frames = large_frames(layout.size())?;
        let order = order_of_bytes((frames << FRAME_SHIFT).max(layout.align()).max(GRANULE))?;
        let first = self.backing.alloc(order)?;
        let address = first.addr().get();
        let is_entered = {
            let mut chunks = self.chunks.lock();
            self.map.cover(&mut chunks, address + (frames << FRAME_SHIFT))
                && self.map.set_entry(&mut chunks, &self.backing, address, entry_of_frames(frames))
        };
        if !is_entered {
            // SAFETY: the frames were allocated above, and nothing uses them.
            unsafe { self.backing.free(first, order.frames()) };
            return None;
        }
        if frames < order.frames() {
            // SAFETY: the frames lie in the allocation.
            let rest = unsafe { first.add(frames << FRAME_SHIFT) };
            // SAFETY: they are the last ones of it, and nothing uses them.
            unsafe { self.backing.free(rest, order.frames() - frames) };
        }
        self.map.set_kind(first, frames << FRAME_SHIFT, Kind::LargeTail);
        self.map.set_kind(first, 1, Kind::Large);
        self.large.add(layout.size(), frames);
        Some(first)
    }

    /// Checks a large object; how many frames it has.
    fn check_large(&self, object: NonNull<u8>, layout: Layout) -> Result<usize, Misuse> {
        let address = object.addr().get();
        let frames = match self.map.kind(address) {
            Kind::Large if address.is_multiple_of(GRANULE) => self.map.entry(address),
            _ => None,
        };
        let frames =
            frames.map(frames_of_entry).filter(|frames| large_frames(layout.size()) == Some(*frames));
        frames.ok_or_else(|| self.misuse(object, layout))
    }

    #[cold]
    #[inline(never)]
    pub(super) unsafe fn dealloc_large(&self, object: NonNull<u8>, layout: Layout) -> Result<(), Misuse> {
        let frames = self.check_large(object, layout)?;
        // Of two frees at the same time, one finds the other kind.
        if !self.map.replace_kind(object.addr().get(), Kind::Large, Kind::Freed) {
            return Err(Misuse::DoubleFree { address: object.addr().get() });
        }
        // SAFETY: the object is at least as long as a granule, or has no second one.
        let tail = unsafe { object.add((frames << FRAME_SHIFT).min(GRANULE)) };
        let rest = (frames << FRAME_SHIFT).saturating_sub(GRANULE);
        self.map.set_kind(tail, rest, Kind::None);
        {
            let mut chunks = self.chunks.lock();
            self.map.clear_entry(&mut chunks, &self.backing, object.addr().get());
        }
        self.large.remove(layout.size(), frames);
        // SAFETY: the caller owned the object (see `dealloc`), and the map no longer names it.
        unsafe { self.backing.free(object, frames) };
        Ok(())
    }

    /// [`resize`](Self::resize) of a large object.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn resize_large(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        new: Layout,
    ) -> Result<bool, Misuse> {
        let frames = self.check_large(object, layout)?;
        let Some(wanted) = large_frames(new.size()).filter(|wanted| *wanted <= frames) else {
            return Ok(false);
        };
        if wanted == frames {
            self.large.remove(layout.size(), frames);
            self.large.add(new.size(), frames);
            return Ok(true);
        }
        let is_entered = {
            let mut chunks = self.chunks.lock();
            let entry = entry_of_frames(wanted);
            self.map.set_entry(&mut chunks, &self.backing, object.addr().get(), entry)
        };
        if !is_entered {
            return Ok(false);
        }
        let (old_bytes, new_bytes) = (frames << FRAME_SHIFT, wanted << FRAME_SHIFT);
        // The granules that have no part of the object any more.
        let kept = new_bytes.next_multiple_of(GRANULE);
        if kept < old_bytes {
            // SAFETY: the offset lies in the object.
            self.map.set_kind(unsafe { object.add(kept) }, old_bytes - kept, Kind::None);
        }
        self.large.remove(layout.size(), frames);
        self.large.add(new.size(), wanted);
        // SAFETY: the offset lies in the object.
        let rest = unsafe { object.add(new_bytes) };
        // SAFETY: the frames are the last ones of the object, and the new layout does not include them.
        unsafe { self.backing.free(rest, frames - wanted) };
        Ok(true)
    }
}

/// The frames of a large object of so many bytes: of the four sizes between two powers of two the smallest that is large enough, so that it
/// can grow without moving. `None` if it is too large.
fn large_frames(bytes: usize) -> Option<usize> {
    let frames = bytes.div_ceil(FRAME_BYTES).max(1);
    let step = (1 << (frames - 1).max(1).ilog2()) / 4;
    frames.checked_next_multiple_of(step.max(1)).filter(|frames| *frames <= isize::MAX as usize / FRAME_BYTES)
}
