//! A queue from one CPU to one other.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many items a [`Ring`] holds.
pub const CAPACITY: usize = 256;

/// A count on cache lines of its own: two, since processors fetch them in pairs. Its layout is this crate's, so that zeroes
/// are a value (`Zeroable`).
#[repr(align(128))]
struct Line(AtomicUsize);

/// A bounded queue with one sender and one receiver, neither of which ever waits.
pub struct Ring {
    /// How many items were ever sent.
    sent: Line,
    /// How many were ever received.
    received: Line,
    items: [AtomicU64; CAPACITY],
}

impl Ring {
    /// An empty queue.
    pub const fn new() -> Ring {
        Ring {
            sent: Line(AtomicUsize::new(0)),
            received: Line(AtomicUsize::new(0)),
            items: [const { AtomicU64::new(0) }; CAPACITY],
        }
    }

    /// Sends an item, if there is room. Only the one sender calls this.
    pub fn send(&self, item: u64) -> bool {
        let sent = self.sent.0.load(Ordering::Relaxed);
        if sent.wrapping_sub(self.received.0.load(Ordering::Acquire)) == CAPACITY {
            return false;
        }
        self.items[sent % CAPACITY].store(item, Ordering::Relaxed);
        self.sent.0.store(sent.wrapping_add(1), Ordering::Release);
        true
    }

    /// Takes the oldest item, if there is one. Only the one receiver calls this.
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

impl Default for Ring {
    fn default() -> Self {
        Ring::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_received_in_order_and_no_more_than_fits() {
        let ring = Ring::new();
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
    fn two_threads_lose_nothing() {
        const ITEMS: u64 = 200_000;
        let ring = Ring::new();
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
