//! A lock-free queue for lines that cannot be written at once. Any context may push, also an NMI that interrupts a push.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU64, Ordering};

/// The largest capacity: one value for each bit of a word.
pub(crate) const MAX_DEFERRED: usize = 64;

/// A queue of up to `N` values. Its initial bytes are zero, so a static takes no space in the image.
pub(crate) struct DeferredQueue<T, const N: usize = MAX_DEFERRED> {
    /// Bit n: slot n is in use: being pushed, waiting, or being popped.
    taken: AtomicU64,
    /// Bit n: slot n holds a complete value.
    waiting: AtomicU64,
    /// The sequence number of the next value.
    next: AtomicU64,
    numbers: [AtomicU64; N],
    values: [UnsafeCell<MaybeUninit<T>>; N],
}

// SAFETY: a slot is accessed only by the `push` that has set its bit in `taken`, until it sets the bit in `waiting`, and by
// the `pop` that has cleared the bit in `waiting`, until it clears the bit in `taken`. Acquire and Release order these
// accesses.
unsafe impl<T: Send, const N: usize> Sync for DeferredQueue<T, N> {}

impl<T, const N: usize> Default for DeferredQueue<T, N> {
    fn default() -> Self {
        DeferredQueue::new()
    }
}

impl<T, const N: usize> DeferredQueue<T, N> {
    /// Creates an empty queue.
    pub(crate) const fn new() -> DeferredQueue<T, N> {
        const { assert!(0 < N && N <= MAX_DEFERRED) };
        DeferredQueue {
            taken: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            next: AtomicU64::new(0),
            numbers: [const { AtomicU64::new(0) }; N],
            values: [const { UnsafeCell::new(MaybeUninit::uninit()) }; N],
        }
    }

    /// Pushes a value. Lock-free.
    ///
    /// **Context:** any.
    ///
    /// # Errors
    /// Returns the value if the queue is full.
    pub(crate) fn push(&self, value: T) -> Result<(), T> {
        let mut taken = self.taken.load(Ordering::Relaxed);
        let slot = loop {
            let free = !taken & taken.wrapping_add(1) & (u64::MAX >> (MAX_DEFERRED - N));
            if free == 0 {
                return Err(value);
            }
            match self.taken.compare_exchange_weak(taken, taken | free, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => break free.trailing_zeros() as usize,
                Err(now) => taken = now,
            }
        };
        self.numbers[slot].store(self.next.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        // SAFETY: the exchange above has set the slot's bit in `taken`, which was clear, so no other push or pop accesses the
        // slot.
        unsafe { (*self.values[slot].get()).write(value) };
        self.waiting.fetch_or(1 << slot, Ordering::Release);
        Ok(())
    }

    /// Removes the oldest complete value. Lock-free.
    ///
    /// **Context:** any.
    pub(crate) fn pop(&self) -> Option<T> {
        loop {
            let waiting = self.waiting.load(Ordering::Acquire);
            let slots = (0..N).filter(|slot| waiting & 1 << slot != 0);
            let oldest = slots.min_by_key(|slot| self.numbers[*slot].load(Ordering::Relaxed))?;
            if self.waiting.fetch_and(!(1 << oldest), Ordering::AcqRel) & 1 << oldest == 0 {
                // Another CPU or a handler has popped it.
                continue;
            }
            // SAFETY: `push` has set the bit in `waiting` after it wrote the value, and `fetch_and` above has cleared it, so
            // no other pop reads the slot.
            let slot = unsafe { &*self.values[oldest].get() };
            // SAFETY: the slot is initialised: `push` writes the value before it sets the bit, which `fetch_and` has read with
            // acquire ordering. The bit is cleared, so the value is read once.
            let value = unsafe { slot.assume_init_read() };
            self.taken.fetch_and(!(1 << oldest), Ordering::Release);
            return Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn values_are_popped_in_order_and_a_full_queue_returns_the_value() {
        fills_up(&DeferredQueue::<_, 1>::new());
        fills_up(&DeferredQueue::<_, 5>::new());
        fills_up(&DeferredQueue::<_, MAX_DEFERRED>::new());
    }

    fn fills_up<const N: usize>(queue: &DeferredQueue<Box<(usize, usize)>, N>) {
        for round in 0..3 {
            for value in 0..N {
                assert_eq!(queue.push(Box::new((round, value))), Ok(()));
            }
            assert_eq!(queue.push(Box::new((9, 9))), Err(Box::new((9, 9))));
            for value in 0..N {
                assert_eq!(queue.pop(), Some(Box::new((round, value))));
            }
            assert_eq!(queue.pop(), None);
        }
    }

    #[test]
    fn concurrent_pushes_and_pops_pop_each_value_once() {
        const EACH: usize = if cfg!(miri) { 50 } else { 20_000 };
        let (queue, out) = (DeferredQueue::<_, MAX_DEFERRED>::new(), AtomicUsize::new(0));
        let mut found = BTreeSet::new();
        std::thread::scope(|scope| {
            let (queue, out) = (&queue, &out);
            for thread in 0..3 {
                scope.spawn(move || {
                    for value in 0..EACH {
                        let mut value = Box::new(thread * EACH + value);
                        while let Err(back) = queue.push(value) {
                            value = back;
                            std::thread::yield_now();
                        }
                    }
                });
            }
            let poppers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(move || {
                        let mut own = Vec::new();
                        while out.load(Ordering::Relaxed) < 3 * EACH {
                            match queue.pop() {
                                Some(value) => {
                                    out.fetch_add(1, Ordering::Relaxed);
                                    own.push(*value);
                                }
                                None => std::thread::yield_now(),
                            }
                        }
                        own
                    })
                })
                .collect();
            for popper in poppers {
                for value in popper.join().unwrap() {
                    assert!(found.insert(value), "{value} was popped twice");
                }
            }
        });
        assert_eq!(found.len(), 3 * EACH);
    }
}
