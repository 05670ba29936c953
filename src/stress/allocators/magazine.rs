//! A plain array of frames for each CPU in front of the locked allocator: a per-CPU cache without the other layers of octopod.

use core::cell::UnsafeCell;

use super::locked::Locked;
use crate::memory::Zeroable;
use crate::memory::cache::{BATCH, CAPACITY};
use crate::memory::frames::{FrameNumber, FreeError, Order};
use crate::stress::allocator::{Allocator, Backing, Borrower, MemoryShape};
use crate::stress::source::{AllocContext, FrameSource, uninterrupted};

/// The allocator `magazine`.
pub(crate) static MAGAZINE: Allocator = Allocator {
    name: "magazine",
    summary: "An array of frames for each CPU, in front of `locked`.",
    backing: Backing::Borrowed(Borrower {
        metadata_bytes: |needs| needs.contexts * size_of::<ContextCache>(),
        shape: MemoryShape::Ranges,
        run: |memory, run| {
            let caches = memory.take_metadata(memory.contexts());
            run(&Cached::new(caches, &Locked::on(memory)));
        },
    }),
};

/// The cached frames of one context: as many as octopod's magazine holds, transferred in batches of the same size.
struct Cache {
    frames: [FrameNumber; CAPACITY],
    count: usize,
}

/// The cache of one context, on cache lines of its own. The type is this crate's, so that it can be `Zeroable`.
#[repr(align(128))]
pub(crate) struct ContextCache(UnsafeCell<Cache>);

// SAFETY: zero must be a valid value. A `ContextCache` consists of frame numbers and a count, all `usize`.
unsafe impl Zeroable for ContextCache {}

impl ContextCache {
    /// An empty cache.
    pub(crate) const fn new() -> ContextCache {
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
/// An allocation does not obtain frames that other contexts cache, and runs of more than one frame come from the shared
/// allocator only.
pub(crate) struct Cached<'a> {
    caches: &'a [ContextCache],
    shared: &'a Locked,
}

// SAFETY: a cache must not be accessed by two CPUs at once. `with` takes `&mut AllocContext`, and there is one context of each
// number.
unsafe impl Sync for Cached<'_> {}

impl<'a> Cached<'a> {
    /// An allocator with a cache for each context in front of `shared`.
    pub(crate) fn new(caches: &'a [ContextCache], shared: &'a Locked) -> Cached<'a> {
        Cached { caches, shared }
    }

    /// Calls `f` with the context's cache, in place: it has 2 KiB.
    fn with<R>(&self, context: &mut AllocContext, f: impl FnOnce(&mut Cache) -> R) -> R {
        // SAFETY: the access must be exclusive. The caller has `&mut` of the only context of this number, no `f` (all are in this
        // file) calls `with`, and an interrupt handler has a context of its own.
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
            // SAFETY: the caller must own the frames, guaranteed by the caller (see `FrameSource::free`). `shared` allocated
            // them, as all of orders above 0.
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
