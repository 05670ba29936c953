//! A plain array of frames for each CPU in front of the locked allocator: what one gets who stops there.

use core::cell::UnsafeCell;

use super::{FrameSource, Locked, Seat, alone};
use crate::memory::cache::{BATCH, CAPACITY};
use crate::memory::frames::{FrameNumber, FreeError, Order};

/// One seat's frames: as many as octopod's own magazine holds, moved in batches of the same size.
struct Cache {
    frames: [FrameNumber; CAPACITY],
    count: usize,
}

/// One seat's cache, on cache lines of its own. Its layout is this crate's, so that zeroes are a value (`Zeroable`).
#[repr(align(128))]
pub struct SeatCache(UnsafeCell<Cache>);

impl SeatCache {
    /// An empty one.
    pub const fn new() -> SeatCache {
        let cache = Cache { frames: [FrameNumber::new(0); CAPACITY], count: 0 };
        SeatCache(UnsafeCell::new(cache))
    }
}

impl Default for SeatCache {
    fn default() -> SeatCache {
        SeatCache::new()
    }
}

/// A cache for each seat, and [`Locked`] behind them.
///
/// What lies in the caches of others is out of reach for a CPU that finds nothing, and a run of more than one frame is taken
/// from the shared part alone: that is what a plain cache is.
pub struct Cached<'a> {
    caches: &'a [SeatCache],
    shared: &'a Locked,
}

// SAFETY: a cache is reached through `&mut Seat` of its own number alone, and there is one seat of each number.
unsafe impl Sync for Cached<'_> {}

impl<'a> Cached<'a> {
    /// With a cache for each seat, before `shared`.
    pub fn new(caches: &'a [SeatCache], shared: &'a Locked) -> Cached<'a> {
        Cached { caches, shared }
    }

    /// Runs `f` on the seat's cache; 2 KiB are not moved for that.
    fn with<R>(&self, seat: &mut Seat, f: impl FnOnce(&mut Cache) -> R) -> R {
        // SAFETY: the seat is held by this CPU alone, `f` (all of them are in this file) does not come back here, and what
        // might interrupt this has a seat of its own.
        alone(|| f(unsafe { &mut *self.caches[seat.number()].0.get() }))
    }
}

impl FrameSource for Cached<'_> {
    fn alloc(&self, seat: &mut Seat, order: Order) -> Option<FrameNumber> {
        if order != Order::FRAME {
            return self.shared.alloc(seat, order);
        }
        self.with(seat, |cache| {
            if cache.count == 0 {
                cache.count = self.shared.alloc_many(&mut cache.frames[..BATCH]);
            }
            cache.count = cache.count.checked_sub(1)?;
            Some(cache.frames[cache.count])
        })
    }

    unsafe fn free(&self, seat: &mut Seat, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        if order != Order::FRAME {
            // SAFETY: the caller owns the frames, as the trait's `free` demands; those of other orders than 0 are `shared`'s.
            return unsafe { self.shared.free(seat, frame, order) };
        }
        self.with(seat, |cache| {
            if cache.count == CAPACITY {
                cache.count -= BATCH;
                self.shared.free_many(&cache.frames[cache.count..]);
            }
            cache.frames[cache.count] = frame;
            cache.count += 1;
        });
        Ok(())
    }

    fn reaches_everything(&self) -> bool {
        false
    }

    fn drain(&self, seat: &mut Seat) {
        self.with(seat, |cache| {
            self.shared.free_many(&cache.frames[..cache.count]);
            cache.count = 0;
        });
    }

    fn free_frames(&self) -> usize {
        self.shared.free_frames()
    }
}
