//! Lines that wait for somebody who can write them, without a lock: any context may leave one, also an NMI that struck
//! another who was leaving one.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU64, Ordering};

/// How many values can wait at most: one for each bit of a word.
pub const MAX_KEPT: usize = 64;

/// Up to `N` values, in the order in which they were left. All of it is zero at first, and takes no room in the image.
pub struct Kept<T, const N: usize = MAX_KEPT> {
    /// Bit n: value n is being left, waits, or is being taken.
    taken: AtomicU64,
    /// Bit n: it waits.
    waiting: AtomicU64,
    /// The number of the next value that is left.
    next: AtomicU64,
    numbers: [AtomicU64; N],
    values: [UnsafeCell<MaybeUninit<T>>; N],
}

// SAFETY: a value is used only by who has set its bit in `taken`, until that one sets it in `waiting`, and then by who has
// cleared it there, until that one clears it in `taken`.
unsafe impl<T: Send, const N: usize> Sync for Kept<T, N> {}

impl<T, const N: usize> Default for Kept<T, N> {
    fn default() -> Self {
        Kept::new()
    }
}

impl<T, const N: usize> Kept<T, N> {
    /// None.
    pub const fn new() -> Kept<T, N> {
        const { assert!(0 < N && N <= MAX_KEPT) };
        Kept {
            taken: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            next: AtomicU64::new(0),
            numbers: [const { AtomicU64::new(0) }; N],
            values: [const { UnsafeCell::new(MaybeUninit::uninit()) }; N],
        }
    }

    /// Leaves a value; gives it back if there is no room. Any context; waits for nobody.
    pub fn push(&self, value: T) -> Result<(), T> {
        let mut taken = self.taken.load(Ordering::Relaxed);
        let place = loop {
            let free = !taken & taken.wrapping_add(1) & (u64::MAX >> (MAX_KEPT - N));
            if free == 0 {
                return Err(value);
            }
            match self.taken.compare_exchange_weak(taken, taken | free, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => break free.trailing_zeros() as usize,
                Err(now) => taken = now,
            }
        };
        self.numbers[place].store(self.next.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        // SAFETY: the bit was clear and has been set here, so the value is this caller's alone.
        unsafe { (*self.values[place].get()).write(value) };
        self.waiting.fetch_or(1 << place, Ordering::Release);
        Ok(())
    }

    /// The value that has waited longest, of those that have been left completely. Any context; waits for nobody.
    pub fn pop(&self) -> Option<T> {
        loop {
            let waiting = self.waiting.load(Ordering::Acquire);
            let places = (0..N).filter(|place| waiting & 1 << place != 0);
            let oldest = places.min_by_key(|place| self.numbers[*place].load(Ordering::Relaxed))?;
            if self.waiting.fetch_and(!(1 << oldest), Ordering::AcqRel) & 1 << oldest == 0 {
                // Somebody else has it.
                continue;
            }
            // SAFETY: the bit was set, after the value had been written, and has been cleared here.
            let value = unsafe { (*self.values[oldest].get()).assume_init_read() };
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
    fn what_waits_comes_out_in_order_and_what_has_no_room_comes_back() {
        fills_up(&Kept::<_, 1>::new());
        fills_up(&Kept::<_, 5>::new());
        fills_up(&Kept::<_, MAX_KEPT>::new());
    }

    fn fills_up<const N: usize>(kept: &Kept<Box<(usize, usize)>, N>) {
        for round in 0..3 {
            for value in 0..N {
                assert_eq!(kept.push(Box::new((round, value))), Ok(()));
            }
            assert_eq!(kept.push(Box::new((9, 9))), Err(Box::new((9, 9))));
            for value in 0..N {
                assert_eq!(kept.pop(), Some(Box::new((round, value))));
            }
            assert_eq!(kept.pop(), None);
        }
    }

    #[test]
    fn many_leave_and_take_at_once_and_each_value_comes_out_once() {
        const EACH: usize = if cfg!(miri) { 50 } else { 20_000 };
        let (kept, out) = (Kept::<_, MAX_KEPT>::new(), AtomicUsize::new(0));
        let mut found = BTreeSet::new();
        std::thread::scope(|scope| {
            let (kept, out) = (&kept, &out);
            for thread in 0..3 {
                scope.spawn(move || {
                    for value in 0..EACH {
                        let mut value = Box::new(thread * EACH + value);
                        while let Err(back) = kept.push(value) {
                            value = back;
                            std::thread::yield_now();
                        }
                    }
                });
            }
            let takers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(move || {
                        let mut own = Vec::new();
                        while out.load(Ordering::Relaxed) < 3 * EACH {
                            match kept.pop() {
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
            for taker in takers {
                for value in taker.join().unwrap() {
                    assert!(found.insert(value), "{value} came out twice");
                }
            }
        });
        assert_eq!(found.len(), 3 * EACH);
    }
}
