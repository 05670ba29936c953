//! The activity of the threads of a host run, for another thread to read: so a hanging allocator can be reported.

extern crate std;

use core::alloc::Layout;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::vec::Vec;

use crossbeam_utils::CachePadded;
use serde::{Deserialize, Serialize};

use super::super::source::{AllocContext, FrameSource};
use crate::heap::source::{HeapError, HeapSource, HeapStatistics, this_cpu};
use crate::memory::frames::{FrameNumber, FreeError, Invalid, ORDERS, Order};

/// A call of the allocator under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub enum Call {
    /// An allocation of this order.
    Alloc(Order),
    /// A free of this order.
    Free(Order),
    /// A drain of the thread's cache.
    Drain,
    /// An allocation of an object.
    AllocObject,
    /// A free of an object.
    FreeObject,
    /// A resize of an object.
    ResizeObject,
    /// An allocation of several single frames.
    AllocBulk,
    /// A free of several single frames.
    FreeBulk,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Alloc(order) => write!(f, "alloc of order {}", order.get()),
            Call::Free(order) => write!(f, "free of order {}", order.get()),
            Call::Drain => f.write_str("drain"),
            Call::AllocObject => f.write_str("alloc of an object"),
            Call::FreeObject => f.write_str("free of an object"),
            Call::ResizeObject => f.write_str("realloc of an object"),
            Call::AllocBulk => f.write_str("alloc_bulk"),
            Call::FreeBulk => f.write_str("free_bulk"),
        }
    }
}

/// No call; then the calls by order, ascending.
const NONE: u32 = 0;
const DRAIN: u32 = 1;
const ALLOC_OBJECT: u32 = 2;
const FREE_OBJECT: u32 = 3;
const RESIZE_OBJECT: u32 = 4;
const ALLOC_BULK: u32 = 5;
const FREE_BULK: u32 = 6;
const ALLOC: u32 = 7;
const FREE: u32 = ALLOC + ORDERS as u32;

impl Call {
    fn code(self) -> u32 {
        match self {
            Call::Drain => DRAIN,
            Call::AllocObject => ALLOC_OBJECT,
            Call::FreeObject => FREE_OBJECT,
            Call::ResizeObject => RESIZE_OBJECT,
            Call::AllocBulk => ALLOC_BULK,
            Call::FreeBulk => FREE_BULK,
            Call::Alloc(order) => ALLOC + u32::from(order.get()),
            Call::Free(order) => FREE + u32::from(order.get()),
        }
    }

    fn from_code(code: u32) -> Option<Call> {
        let order = |from: u32| Order::new(u8::try_from(code - from).ok()?);
        match code {
            NONE => None,
            DRAIN => Some(Call::Drain),
            ALLOC_OBJECT => Some(Call::AllocObject),
            FREE_OBJECT => Some(Call::FreeObject),
            RESIZE_OBJECT => Some(Call::ResizeObject),
            ALLOC_BULK => Some(Call::AllocBulk),
            FREE_BULK => Some(Call::FreeBulk),
            ALLOC..FREE => order(ALLOC).map(Call::Alloc),
            _ => order(FREE).map(Call::Free),
        }
    }
}

impl From<Call> for u32 {
    fn from(call: Call) -> u32 {
        call.code()
    }
}

impl TryFrom<u32> for Call {
    type Error = &'static str;

    fn try_from(code: u32) -> Result<Call, &'static str> {
        Call::from_code(code).ok_or("no call has this number")
    }
}

/// The activity of one context.
#[derive(Debug, Default)]
struct OfSeat {
    call: AtomicU32,
    calls: AtomicU64,
}

/// The activity of all threads.
#[derive(Debug)]
pub struct Activity {
    threads: usize,
    contexts: Vec<CachePadded<OfSeat>>,
}

/// The activity of a thread: its current call, and the number of calls that it has begun, including its handler's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadActivity {
    /// The call; `None` between calls.
    pub call: Option<Call>,
    /// The number of calls begun.
    pub calls: u64,
}

impl Activity {
    /// The activity of a run with that many threads.
    pub fn new(threads: usize) -> Activity {
        Activity { threads, contexts: (0..2 * threads).map(|_| CachePadded::default()).collect() }
    }

    /// The activity of each thread, by its number.
    pub fn threads(&self) -> impl Iterator<Item = ThreadActivity> {
        (0..self.threads).map(|thread| {
            let (own, handler) = (&self.contexts[thread], &self.contexts[self.threads + thread]);
            let call = |context: &OfSeat| Call::from_code(context.call.load(Ordering::Relaxed));
            let calls = [own, handler]
                .iter()
                .fold(0, |sum: u64, context| sum.wrapping_add(context.calls.load(Ordering::Relaxed)));
            // The handler runs in its thread, so its call is the inner one.
            ThreadActivity { call: call(handler).or_else(|| call(own)), calls }
        })
    }

    /// Records a call while `f` runs.
    fn during<R>(&self, context: &mut AllocContext, call: Call, f: impl FnOnce(&mut AllocContext) -> R) -> R {
        self.during_number(context.number(), call, || f(context))
    }

    /// Records a call of the context with this number while `f` runs.
    fn during_number<R>(&self, number: usize, call: Call, f: impl FnOnce() -> R) -> R {
        let Some(of_seat) = self.contexts.get(number) else { return f() };
        // Only the owner of the context writes here.
        of_seat.calls.store(of_seat.calls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        of_seat.call.store(call.code(), Ordering::Relaxed);
        let result = f();
        of_seat.call.store(NONE, Ordering::Relaxed);
        result
    }
}

/// An allocator whose calls are recorded.
pub(super) struct Watched<'a> {
    pub source: &'a dyn FrameSource,
    pub activity: &'a Activity,
}

impl FrameSource for Watched<'_> {
    fn largest_order(&self) -> Order {
        self.source.largest_order()
    }

    fn alloc(&self, context: &mut AllocContext, order: Order) -> Option<FrameNumber> {
        self.activity.during(context, Call::Alloc(order), |context| self.source.alloc(context, order))
    }

    unsafe fn free(
        &self,
        context: &mut AllocContext,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError> {
        // SAFETY: the caller must own the frames, guaranteed by the caller (see `FrameSource::free`). They came from `source`.
        self.activity
            .during(context, Call::Free(order), |context| unsafe { self.source.free(context, frame, order) })
    }

    fn supports(&self, order: Order) -> bool {
        self.source.supports(order)
    }

    fn alloc_bulk(&self, context: &mut AllocContext, frames: &mut [FrameNumber]) -> usize {
        self.activity.during(context, Call::AllocBulk, |context| self.source.alloc_bulk(context, frames))
    }

    unsafe fn free_bulk(&self, context: &mut AllocContext, frames: &[FrameNumber]) -> Result<(), FreeError> {
        // SAFETY: the caller must own the frames, guaranteed by the caller (see `FrameSource::free_bulk`). They came from `source`.
        self.activity
            .during(context, Call::FreeBulk, |context| unsafe { self.source.free_bulk(context, frames) })
    }

    fn rejects_invalid_frees(&self) -> Option<Order> {
        self.source.rejects_invalid_frees()
    }

    fn can_obtain_all(&self) -> bool {
        self.source.can_obtain_all()
    }

    fn drain(&self, context: &mut AllocContext) {
        self.activity.during(context, Call::Drain, |context| self.source.drain(context));
    }

    fn free_frames(&self) -> usize {
        self.source.free_frames()
    }

    fn free_by_order(&self) -> Option<[usize; ORDERS]> {
        self.source.free_by_order()
    }

    fn validate(&self) -> Result<(), Invalid> {
        self.source.validate()
    }
}

/// A heap whose calls are recorded, as those of the thread that makes them.
pub(super) struct WatchedHeap<'a> {
    pub source: &'a dyn HeapSource,
    pub activity: &'a Activity,
}

// SAFETY: must satisfy the contract of `HeapSource`. Each call goes to a heap that does.
unsafe impl HeapSource for WatchedHeap<'_> {
    fn largest_size(&self) -> usize {
        self.source.largest_size()
    }

    fn alloc(&self, layout: Layout) -> Result<NonNull<u8>, HeapError> {
        self.activity.during_number(this_cpu(), Call::AllocObject, || self.source.alloc(layout))
    }

    unsafe fn dealloc(&self, object: NonNull<u8>, layout: Layout) -> Result<(), HeapError> {
        // SAFETY: the caller must own the object, guaranteed by the caller (see `HeapSource::dealloc`). It came from `source`.
        let free = || unsafe { self.source.dealloc(object, layout) };
        self.activity.during_number(this_cpu(), Call::FreeObject, free)
    }

    unsafe fn realloc(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<NonNull<u8>, HeapError> {
        // SAFETY: the caller must own the object, guaranteed by the caller (see `HeapSource::realloc`). It came from `source`.
        let resize = || unsafe { self.source.realloc(object, layout, new_size) };
        self.activity.during_number(this_cpu(), Call::ResizeObject, resize)
    }

    fn drain(&self) {
        self.activity.during_number(this_cpu(), Call::Drain, || self.source.drain());
    }

    fn statistics(&self) -> HeapStatistics {
        self.source.statistics()
    }

    fn validate(&self) -> Result<(), &'static str> {
        self.source.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_its_code() {
        let orders = (0..=Order::MAX.get()).filter_map(Order::new);
        let calls = orders.flat_map(|order| [Call::Alloc(order), Call::Free(order)]).chain([
            Call::Drain,
            Call::AllocObject,
            Call::FreeObject,
            Call::ResizeObject,
            Call::AllocBulk,
            Call::FreeBulk,
        ]);
        for call in calls {
            assert_eq!(Call::from_code(call.code()), Some(call));
        }
        assert_eq!(Call::from_code(NONE), None);
    }
}
