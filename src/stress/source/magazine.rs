//! A plain array of frames for each CPU in front of the locked allocator: what one gets who stops there.

use core::cell::UnsafeCell;

use super::{AllocContext, FrameSource, Locked, uninterrupted};
use crate::memory::Zeroable;
use crate::memory::cache::{BATCH, CAPACITY};
use crate::memory::frames::{FrameNumber, FreeError, Order};
use crate::stress::allocators::{Allocator, Backing, Borrower};

/// The allocator `magazine`.
pub static MAGAZINE: Allocator = Allocator {
    name: "magazine",
    summary: "An array of frames for each CPU, in front of `locked`.",
    backing: Backing::Borrowed(Borrower {
        metadata_bytes: |contexts| contexts * size_of::<ContextCache>(),
        run: |memory, run| {
            let caches = memory.take_metadata(memory.contexts());
            run(&Cached::new(caches, &Locked::on(memory)));
        },
    }),
};

/// One context's frames: as many as octopod's own magazine holds, moved in batches of the same size.
struct Cache {
    frames: [FrameNumber; CAPACITY],
    count: usize,
}

/// One context's cache, on cache lines of its own. Its layout is this crate's, so that zeroes are a value (`Zeroable`).
#[repr(align(128))]
pub struct ContextCache(UnsafeCell<Cache>);

// SAFETY: a `ContextCache` is a cell with frame numbers and a count, all `usize`, of which zero is a value.
unsafe impl Zeroable for ContextCache {}

impl ContextCache {
    /// An empty one.
    pub const fn new() -> ContextCache {
        let cache = Cache { frames: [FrameNumber::new(0); CAPACITY], count: 0 };
        ContextCache(UnsafeCell::new(cache))
    }
}

impl Default for ContextCache {
    fn default() -> ContextCache {
        ContextCache::new()
    }
}

/// A cache for each context, and [`Locked`] behind them.
///
/// What lies in the caches of others is out of reach for a CPU that finds nothing, and a run of more than one frame is taken
/// from the shared part alone: that is what a plain cache is.
pub struct Cached<'a> {
    caches: &'a [ContextCache],
    shared: &'a Locked,
}

// SAFETY: a cache is reached through `&mut AllocContext` of its own number alone, and there is one context of each number.
unsafe impl Sync for Cached<'_> {}

impl<'a> Cached<'a> {
    /// With a cache for each context, before `shared`.
    pub fn new(caches: &'a [ContextCache], shared: &'a Locked) -> Cached<'a> {
        Cached { caches, shared }
    }

    /// Runs `f` on the context's cache; 2 KiB are not moved for that.
    fn with<R>(&self, context: &mut AllocContext, f: impl FnOnce(&mut Cache) -> R) -> R {
        // SAFETY: the context is held by this CPU alone, `f` (all of them are in this file) does not come back here, and what
        // might interrupt this has a context of its own.
        uninterrupted(|| f(unsafe { &mut *self.caches[context.number()].0.get() }))
    }
}

impl FrameSource for Cached<'_> {
    fn alloc(&self, context: &mut AllocContext, order: Order) -> Option<FrameNumber> {
        if order != Order::FRAME {
            return self.shared.alloc(context, order);
        }
        self.with(context, |cache| {
            if cache.count == 0 {
                cache.count = self.shared.alloc_many(&mut cache.frames[..BATCH]);
            }
            cache.count = cache.count.checked_sub(1)?;
            Some(cache.frames[cache.count])
        })
    }

    unsafe fn free(
        &self,
        context: &mut AllocContext,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError> {
        if order != Order::FRAME {
            // SAFETY: the caller owns the frames, as the trait's `free` demands; those of other orders than 0 are `shared`'s.
            return unsafe { self.shared.free(context, frame, order) };
        }
        self.with(context, |cache| {
            if cache.count == CAPACITY {
                cache.count -= BATCH;
                self.shared.free_many(&cache.frames[cache.count..]);
            }
            cache.frames[cache.count] = frame;
            cache.count += 1;
        });
        Ok(())
    }

    fn can_obtain_all(&self) -> bool {
        false
    }

    fn drain(&self, context: &mut AllocContext) {
        self.with(context, |cache| {
            self.shared.free_many(&cache.frames[..cache.count]);
            cache.count = 0;
        });
    }

    fn free_frames(&self) -> usize {
        self.shared.free_frames()
    }
}
