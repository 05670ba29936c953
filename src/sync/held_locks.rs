//! The locks that a CPU or a thread holds, with the places that have taken them. It compiles on any host, where tests run it.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::order_graph::ClassId;
use super::wait::Site;

/// A held lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeldLock {
    /// Its address.
    pub(super) address: usize,
    pub(super) class: ClassId,
    /// The place that has taken it.
    pub(super) at: Site,
}

struct Slot {
    address: AtomicUsize,
    class: AtomicU32,
    at: AtomicUsize,
}

/// At most `N` held locks, in the order in which they were taken; more are forgotten. The holder alone changes it, and handlers that
/// interrupt the holder, which leave it as it was.
pub(crate) struct HeldLocks<const N: usize> {
    count: AtomicUsize,
    slots: [Slot; N],
}

impl<const N: usize> HeldLocks<N> {
    /// No lock.
    pub(crate) const fn new() -> HeldLocks<N> {
        HeldLocks {
            count: AtomicUsize::new(0),
            slots: [const {
                Slot { address: AtomicUsize::new(0), class: AtomicU32::new(0), at: AtomicUsize::new(0) }
            }; N],
        }
    }

    /// Adds a lock. **Context:** the holder; any.
    pub(super) fn add(&self, lock: HeldLock) {
        let count = self.count.load(Ordering::Relaxed);
        let Some(slot) = self.slots.get(count) else { return };
        // The slot is counted before it is written: a handler that interrupts this uses the next one.
        self.count.store(count + 1, Ordering::Relaxed);
        slot.set(lock);
    }

    /// Removes a lock, if it is there. **Context:** the holder; any.
    pub(super) fn remove(&self, address: usize) {
        let count = self.count.load(Ordering::Relaxed);
        let is_it = |slot: &Slot| slot.address.load(Ordering::Relaxed) == address;
        let Some(index) = self.slots[..count].iter().rposition(is_it) else { return };
        for (slot, next) in self.slots[index..count].iter().zip(&self.slots[index + 1..count]) {
            slot.set(next.get());
        }
        self.count.store(count - 1, Ordering::Relaxed);
    }

    /// Returns the locks. **Context:** any; those of another holder may change meanwhile.
    pub(super) fn iter(&self) -> impl Iterator<Item = HeldLock> {
        self.slots[..self.count.load(Ordering::Relaxed).min(N)].iter().map(Slot::get)
    }
}

impl Slot {
    fn set(&self, lock: HeldLock) {
        self.address.store(lock.address, Ordering::Relaxed);
        self.class.store(lock.class.0.into(), Ordering::Relaxed);
        self.at.store(lock.at.bits(), Ordering::Relaxed);
    }

    fn get(&self) -> HeldLock {
        // SAFETY: only `set` stores into the field, and it stores a site's bits; before, it is 0.
        let at = unsafe { Site::from_bits(self.at.load(Ordering::Relaxed)) };
        let class = ClassId(self.class.load(Ordering::Relaxed) as u16);
        HeldLock { address: self.address.load(Ordering::Relaxed), class, at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(address: usize) -> HeldLock {
        HeldLock { address, class: ClassId(address as u16 * 3), at: Site::default() }
    }

    fn held(locks: &HeldLocks<3>) -> Vec<usize> {
        locks.iter().map(|held| held.address).collect()
    }

    #[test]
    fn locks_are_released_in_any_order() {
        let locks = HeldLocks::<3>::new();
        for address in [1, 2, 3] {
            locks.add(lock(address));
        }
        assert_eq!(locks.iter().nth(1), Some(lock(2)));
        locks.remove(1);
        assert_eq!(held(&locks), [2, 3]);
        locks.remove(3);
        locks.remove(7);
        locks.add(lock(4));
        assert_eq!(held(&locks), [2, 4]);
        locks.remove(2);
        locks.remove(4);
        assert_eq!(held(&locks), [0; 0]);
    }

    #[test]
    fn a_lock_that_has_no_room_is_forgotten() {
        let locks = HeldLocks::<3>::new();
        for address in 1..=5 {
            locks.add(lock(address));
        }
        for address in [5, 4] {
            locks.remove(address);
            assert_eq!(held(&locks), [1, 2, 3]);
        }
        locks.remove(2);
        assert_eq!(held(&locks), [1, 3]);
    }
}
