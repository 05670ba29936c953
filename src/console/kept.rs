//! Lines that wait for somebody who can write them, without a lock: any context may leave one, also an NMI that struck
//! another who was leaving one.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU64, Ordering};

/// How many values can wait: one for each bit of a word.
pub const MAX_KEPT: usize = 64;

/// Up to [`MAX_KEPT`] values, in the order in which they were left. All of it is zero at first, and takes no room in the
/// image.
pub struct Kept<T> {
    /// Bit n: value n is being left, waits, or is being taken.
    taken: AtomicU64,
    /// Bit n: it waits.
    waiting: AtomicU64,
    /// The number of the next value that is left.
    next: AtomicU64,
    numbers: [AtomicU64; MAX_KEPT],
    values: [UnsafeCell<MaybeUninit<T>>; MAX_KEPT],
}

// SAFETY: a value is used only by who has set its bit in `taken`, until that one sets it in `waiting`, and then by who has
// cleared it there, until that one clears it in `taken`.
unsafe impl<T: Send> Sync for Kept<T> {}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept::new()
    }
}

impl<T> Kept<T> {
    /// None.
    pub const fn new() -> Kept<T> {
        Kept {
            taken: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            next: AtomicU64::new(0),
            numbers: [const { AtomicU64::new(0) }; MAX_KEPT],
            values: [const { UnsafeCell::new(MaybeUninit::uninit()) }; MAX_KEPT],
        }
    }

    /// Leaves a value; gives it back if there is no room. Any context; waits for nobody.
    pub fn push(&self, value: T) -> Result<(), T> {
        let mut taken = self.taken.load(Ordering::Relaxed);
        let place = loop {
            let free = !taken & taken.wrapping_add(1);
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
            let places = (0..MAX_KEPT).filter(|place| waiting & 1 << place != 0);
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
        let kept = Kept::new();
        for round in 0..3 {
            for value in 0..MAX_KEPT {
                assert_eq!(kept.push(Box::new((round, value))), Ok(()));
            }
            assert_eq!(kept.push(Box::new((9, 9))), Err(Box::new((9, 9))));
            for value in 0..MAX_KEPT {
                assert_eq!(kept.pop(), Some(Box::new((round, value))));
            }
            assert_eq!(kept.pop(), None);
        }
    }

    #[test]
    fn many_leave_and_take_at_once_and_each_value_comes_out_once() {
        const EACH: usize = if cfg!(miri) { 50 } else { 20_000 };
        let (kept, out) = (Kept::new(), AtomicUsize::new(0));
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
