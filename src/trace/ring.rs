//! A ring of events that one CPU writes and anybody reads.
//!
//! A slot is four words: position and number of the event, TSC, and the event's own two. Whoever records first moves the
//! head on, by one instruction that no interrupt splits, so that what interrupts it takes the next slot; then writes the
//! slot, the first word last. A reader takes a slot only if its first word is of the position that it looks for, and if
//! the head, read afterwards, says that nobody can have begun to overwrite it (x86 keeps the order of stores, and that of
//! loads: SDM Vol. 3A, 9.2.2). What it cannot take is counted as lost.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use crate::wire::RecordedEvent;

/// Words of a slot.
pub const SLOT_WORDS: usize = 4;

/// Bytes of a slot, in which positions are counted.
pub const SLOT_BYTES: u64 = 8 * SLOT_WORDS as u64;

/// A slot.
pub type Slot = [AtomicU64; SLOT_WORDS];

/// An empty slot.
pub const fn empty() -> Slot {
    [const { AtomicU64::new(0) }; SLOT_WORDS]
}

/// A ring as a reader sees it.
#[derive(Clone, Copy)]
pub struct Ring<'a> {
    slots: &'a [Slot],
    /// Where the next event goes, in bytes since the first.
    head: &'a AtomicU64,
}

impl<'a> Ring<'a> {
    /// A ring of a power of two of slots.
    pub fn new(slots: &'a [Slot], head: &'a AtomicU64) -> Ring<'a> {
        debug_assert!(slots.len().is_power_of_two());
        Ring { slots, head }
    }

    /// Events that were begun, overwritten ones among them.
    pub fn recorded(&self) -> u64 {
        self.head.load(Ordering::Acquire) / SLOT_BYTES
    }

    /// The newest events, at most that many, oldest first; `None` for one that is lost.
    pub fn newest(self, most: usize) -> impl Iterator<Item = Option<RecordedEvent>> + use<'a> {
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
        // A head that is not beyond the position belongs to a ring that was given to the CPU meanwhile.
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

    /// What the kernel's recorder does, for one that is in no hurry. Its own CPU alone calls this.
    pub fn write(&self, traced: &RecordedEvent) {
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
    fn the_newest_are_kept_and_the_rest_is_counted() {
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
    fn a_slot_that_was_begun_and_not_written_is_lost() {
        let slots = [const { empty() }; 4];
        let head = AtomicU64::new(0);
        let ring = Ring::new(&slots, &head);
        (0..6).for_each(|number| ring.write(&traced(number)));
        // An NMI has stopped the CPU here, for good.
        head.fetch_add(SLOT_BYTES, Ordering::AcqRel);
        let expected = [Some(traced(3)), Some(traced(4)), Some(traced(5)), None];
        assert_eq!(ring.newest(4).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_interrupts_a_write_takes_the_next_slot() {
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
    fn what_is_overwritten_while_it_is_read_is_lost() {
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
    fn a_head_that_is_reset_while_the_ring_is_read_loses_the_events() {
        let slots = [const { empty() }; 4];
        let head = AtomicU64::new(0);
        let ring = Ring::new(&slots, &head);
        (0..4).for_each(|number| ring.write(&traced(number)));
        let newest = ring.newest(4);
        // `give_ring` on another CPU: one event is in the new ring so far.
        head.store(SLOT_BYTES, Ordering::Release);
        let expected = [Some(traced(0)), None, None, None];
        assert_eq!(newest.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_reader_beside_the_writer_sees_whole_events_only() {
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
