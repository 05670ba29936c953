//! A ring of events. One CPU writes it; any CPU reads it.
//!
//! A slot is four words: position and event number, TSC, and the event's two words. A writer first advances the head by one
//! instruction, so that an interrupt takes the next slot. Then it writes the slot, the first word last. A reader accepts a slot
//! only if its first word has the expected position and the head, read afterwards, shows that no writer can have begun to
//! overwrite the slot. This relies on the x86 order of stores and of loads (SDM Vol. 3A, 9.2.2). A slot that is not accepted
//! counts as lost.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use crate::config::TRACE_RING_PAGES;
use crate::wire::RecordedEvent;

/// Words in a slot.
pub(crate) const SLOT_WORDS: usize = 4;

/// Bytes in a slot. Positions count bytes.
pub(crate) const SLOT_BYTES: u64 = 8 * SLOT_WORDS as u64;

/// How many events each CPU keeps where only rare events are recorded.
pub(crate) const SMALL_EVENTS: usize = 32;

/// Slots of each CPU's ring where all events are recorded.
pub(crate) const RING_SLOTS: usize = TRACE_RING_PAGES * crate::cpu::PAGE_BYTES / SLOT_BYTES as usize;

const _: () = assert!(RING_SLOTS.is_power_of_two(), "trace_ring_pages is a power of two");
const _: () = assert!(SMALL_EVENTS.is_power_of_two());

/// A slot of a ring.
pub(crate) type EventSlot = [AtomicU64; SLOT_WORDS];

/// Returns an empty slot.
pub(crate) const fn empty() -> EventSlot {
    [const { AtomicU64::new(0) }; SLOT_WORDS]
}

/// A ring and its head.
#[derive(Clone, Copy)]
pub(crate) struct Ring<'a> {
    slots: &'a [EventSlot],
    /// The position of the next event, in bytes since the first event.
    head: &'a AtomicU64,
}

impl<'a> Ring<'a> {
    /// Creates a ring. The number of slots is a power of 2.
    pub(crate) fn new(slots: &'a [EventSlot], head: &'a AtomicU64) -> Ring<'a> {
        debug_assert!(slots.len().is_power_of_two());
        Ring { slots, head }
    }

    /// The number of events recorded so far, including overwritten ones and those in progress.
    pub(crate) fn recorded(&self) -> u64 {
        self.head.load(Ordering::Acquire) / SLOT_BYTES
    }

    /// Returns at most `most` of the newest events, oldest first; `None` for a lost one.
    pub(crate) fn newest(self, most: usize) -> impl Iterator<Item = Option<RecordedEvent>> + use<'a> {
        let end = self.head.load(Ordering::Acquire);
        let most = most.min(self.slots.len()) as u64;
        let first = end.saturating_sub(most * SLOT_BYTES);
        (first..end).step_by(SLOT_BYTES as usize).map(move |position| self.read(position))
    }

    fn read(&self, position: u64) -> Option<RecordedEvent> {
        let slot = &self.slots[(position / SLOT_BYTES) as usize % self.slots.len()];
        let first = slot[0].load(Ordering::Acquire);
        let [tsc, a, b] = [1, 2, 3].map(|word: usize| slot[word].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let event = (first % SLOT_BYTES) as u8;
        // A head at or before the position belongs to a ring that `install_ring` has installed since.
        let ring_bytes = self.slots.len() as u64 * SLOT_BYTES;
        let since = self.head.load(Ordering::Acquire).checked_sub(position);
        let is_safe = since.is_some_and(|bytes| (SLOT_BYTES..=ring_bytes).contains(&bytes));
        (is_safe && event != 0 && first - u64::from(event) == position).then_some(RecordedEvent {
            tsc,
            event,
            a,
            b,
        })
    }

    /// Records an event as `octopod_trace_record` does, for code that is not performance-critical. Only the ring's own CPU
    /// calls this.
    pub(crate) fn write(&self, traced: &RecordedEvent) {
        let position = self.head.fetch_add(SLOT_BYTES, Ordering::AcqRel);
        let slot = &self.slots[(position / SLOT_BYTES) as usize % self.slots.len()];
        for (word, value) in [(1, traced.tsc), (2, traced.a), (3, traced.b)] {
            slot[word].store(value, Ordering::Release);
        }
        slot[0].store(position | u64::from(traced.event), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(number: u64) -> RecordedEvent {
        RecordedEvent { tsc: number, event: 1 + (number % 31) as u8, a: !number, b: number << 7 }
    }

    #[test]
    fn newest_events_are_kept_and_all_are_counted() {
        let slots = [const { empty() }; 8];
        let head = AtomicU64::new(0);
        let ring = Ring::new(&slots, &head);
        assert_eq!(ring.newest(8).count(), 0);
        for number in 0..20 {
            ring.write(&traced(number));
            let kept = (number + 1).min(8);
            let expected: Vec<_> = (number + 1 - kept..=number).map(|number| Some(traced(number))).collect();
            assert_eq!(ring.newest(8).collect::<Vec<_>>(), expected);
            assert_eq!(ring.newest(3).collect::<Vec<_>>(), expected[expected.len().saturating_sub(3)..]);
            assert_eq!(ring.recorded(), number + 1);
        }
    }

    #[test]
    fn reserved_slot_that_was_not_written_is_lost() {
        let slots = [const { empty() }; 4];
        let head = AtomicU64::new(0);
        let ring = Ring::new(&slots, &head);
        (0..6).for_each(|number| ring.write(&traced(number)));
        // An NMI has stopped the CPU here permanently.
        head.fetch_add(SLOT_BYTES, Ordering::AcqRel);
        let expected = [Some(traced(3)), Some(traced(4)), Some(traced(5)), None];
        assert_eq!(ring.newest(4).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn interrupting_write_takes_the_next_slot() {
        let slots = [const { empty() }; 4];
        let head = AtomicU64::new(0);
        let ring = Ring::new(&slots, &head);
        let position = head.fetch_add(SLOT_BYTES, Ordering::AcqRel);
        ring.write(&traced(1));
        assert_eq!(ring.newest(4).collect::<Vec<_>>(), [None, Some(traced(1))]);
        slots[0][1].store(traced(0).tsc, Ordering::Release);
        slots[0][2].store(traced(0).a, Ordering::Release);
        slots[0][3].store(traced(0).b, Ordering::Release);
        slots[0][0].store(position | u64::from(traced(0).event), Ordering::Release);
        assert_eq!(ring.newest(4).collect::<Vec<_>>(), [Some(traced(0)), Some(traced(1))]);
    }

    #[test]
    fn slot_overwritten_during_a_read_is_lost() {
        let slots = [const { empty() }; 4];
        let head = AtomicU64::new(0);
        let ring = Ring::new(&slots, &head);
        (0..4).for_each(|number| ring.write(&traced(number)));
        let newest = ring.newest(4);
        // The writer has begun with the oldest slot, whose first word it writes last.
        head.fetch_add(SLOT_BYTES, Ordering::AcqRel);
        slots[0][1].store(traced(4).tsc, Ordering::Release);
        let expected = [None, Some(traced(1)), Some(traced(2)), Some(traced(3))];
        assert_eq!(newest.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn head_reset_during_a_read_loses_the_events() {
        let slots = [const { empty() }; 4];
        let head = AtomicU64::new(0);
        let ring = Ring::new(&slots, &head);
        (0..4).for_each(|number| ring.write(&traced(number)));
        let newest = ring.newest(4);
        // `install_ring` has installed a new ring with one event.
        head.store(SLOT_BYTES, Ordering::Release);
        let expected = [Some(traced(0)), None, None, None];
        assert_eq!(newest.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn concurrent_reader_sees_only_complete_events() {
        let slots = [const { empty() }; 16];
        let head = AtomicU64::new(0);
        let ring = Ring::new(&slots, &head);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..200_000).for_each(|number| ring.write(&traced(number))));
            let mut last = 0;
            while last < 199_999 {
                let seen: Vec<_> = ring.newest(16).flatten().collect();
                for event in &seen {
                    assert_eq!(*event, traced(event.tsc));
                }
                assert!(seen.is_sorted_by_key(|event| event.tsc));
                last = seen.last().map_or(last, |event| event.tsc);
            }
        });
    }
}
