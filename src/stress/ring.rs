//! A queue from one CPU to one other. `heapless::spsc` needs a split into two halves that its owner borrows, which per-CPU
//! tables cannot hold.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The number of items that a [`FrameRing`] holds.
pub(crate) const CAPACITY: usize = 256;

/// A counter on cache lines of its own: two, since processors prefetch pairs of lines. The type is this crate's, so that it can
/// be `Zeroable`.
#[repr(align(128))]
struct PaddedCounter(AtomicUsize);

/// A bounded queue with one sender and one receiver. Neither waits.
pub struct FrameRing {
    /// The number of items sent so far.
    sent: PaddedCounter,
    /// The number of items received so far.
    received: PaddedCounter,
    items: [AtomicU64; CAPACITY],
}

impl FrameRing {
    /// An empty queue.
    pub const fn new() -> FrameRing {
        FrameRing {
            sent: PaddedCounter(AtomicUsize::new(0)),
            received: PaddedCounter(AtomicUsize::new(0)),
            items: [const { AtomicU64::new(0) }; CAPACITY],
        }
    }

    /// Sends an item, and returns whether there was room. Only the sender may call this.
    pub fn send(&self, item: u64) -> bool {
        let sent = self.sent.0.load(Ordering::Relaxed);
        if sent.wrapping_sub(self.received.0.load(Ordering::Acquire)) == CAPACITY {
            return false;
        }
        self.items[sent % CAPACITY].store(item, Ordering::Relaxed);
        self.sent.0.store(sent.wrapping_add(1), Ordering::Release);
        true
    }

    /// Receives the oldest item, if there is one. Only the receiver may call this.
    pub fn receive(&self) -> Option<u64> {
        let received = self.received.0.load(Ordering::Relaxed);
        if self.sent.0.load(Ordering::Acquire) == received {
            return None;
        }
        let item = self.items[received % CAPACITY].load(Ordering::Relaxed);
        self.received.0.store(received.wrapping_add(1), Ordering::Release);
        Some(item)
    }
}

impl Default for FrameRing {
    fn default() -> Self {
        FrameRing::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_arrive_in_order_and_a_full_ring_takes_none() {
        let ring = FrameRing::new();
        assert_eq!(ring.receive(), None);
        for round in 0..3u64 {
            for item in 0..CAPACITY as u64 {
                assert!(ring.send(round << 32 | item));
            }
            assert!(!ring.send(0));
            for item in 0..CAPACITY as u64 {
                assert_eq!(ring.receive(), Some(round << 32 | item));
            }
            assert_eq!(ring.receive(), None);
        }
    }

    #[test]
    fn two_threads_lose_no_item() {
        const ITEMS: u64 = 200_000;
        let ring = FrameRing::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut next = 0;
                while next < ITEMS {
                    if ring.send(next) {
                        next += 1;
                    } else {
                        std::thread::yield_now();
                    }
                }
            });
            let mut expected = 0;
            while expected < ITEMS {
                match ring.receive() {
                    Some(item) => {
                        assert_eq!(item, expected);
                        expected += 1;
                    }
                    None => std::thread::yield_now(),
                }
            }
        });
        assert_eq!(ring.receive(), None);
    }
}
