//! A ring of events. One CPU writes it; any CPU reads it.
//!
//! A slot is four words: position and event [`number`], TSC, and the event's two words. A writer first advances the head by one
//! instruction, so that an interrupt takes the next slot. Then it writes the slot, the first word last. A thread that is switched away
//! meanwhile begins again when it continues, with another slot and perhaps on another CPU, so no slot is written late. A reader accepts a slot
//! only if its first word has the expected position and the head, read afterwards, shows that no writer can have begun to
//! overwrite the slot. This relies on the x86 order of stores and of loads (SDM Vol. 3A, 9.2.2). A slot that is not accepted
//! counts as lost.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use crate::config::TRACE_RING_PAGES;
use crate::wire::{FIRST_PROGRAM_EVENT, PROGRAM_EVENT, RecordedEvent};

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

/// The first bit of the index of a program's event in a slot's first word. The position below it counts 2^47 events.
const INDEX_SHIFT: u32 = 52;

/// The most events that a program can declare.
pub(crate) const MAX_PROGRAM_EVENTS: usize = 1 << (u64::BITS - INDEX_SHIFT);

/// The event's part of a slot's first word: an event of octopod in the bits that are 0 in each position, the index of a program's
/// event in the highest bits.
pub(super) const fn number(event: u8, index: u16) -> u64 {
    event as u64 | (index as u64) << INDEX_SHIFT
}

/// The same for an event as the launcher numbers it.
fn number_of(event: u16) -> u64 {
    match event.checked_sub(FIRST_PROGRAM_EVENT) {
        Some(index) => number(PROGRAM_EVENT, index),
        None => u64::from(event),
    }
}

/// The bits of a slot's first word that are the position.
const POSITION_BITS: u64 = (1 << INDEX_SHIFT) - SLOT_BYTES;

/// Where a thread that is switched away at `rip` continues, and with which RDI, if these are the addresses of the recorder's restartable
/// part. The recorder changes RDI by adding the position, and nothing else that it needs.
pub(super) fn restarted_within(recorder: Range<u64>, rip: u64, rdi: u64) -> (u64, u64) {
    match recorder.contains(&rip) {
        true => (recorder.start, rdi & !POSITION_BITS),
        false => (rip, rdi),
    }
}

/// The event of a slot's first word, as the launcher numbers it; `None` if the position is another one, or nothing was written.
fn event_at(first: u64, position: u64) -> Option<u16> {
    let (event, index) = ((first % SLOT_BYTES) as u8, (first >> INDEX_SHIFT) as u16);
    let is_there = event != 0 && (first ^ position) & POSITION_BITS == 0;
    is_there.then_some(if event == PROGRAM_EVENT { FIRST_PROGRAM_EVENT + index } else { event.into() })
}

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
        // A head at or before the position belongs to a ring that `install_ring` has installed since.
        let ring_bytes = self.slots.len() as u64 * SLOT_BYTES;
        let since = self.head.load(Ordering::Acquire).checked_sub(position);
        let is_safe = since.is_some_and(|bytes| (SLOT_BYTES..=ring_bytes).contains(&bytes));
        let event = event_at(first, position).filter(|_| is_safe)?;
        Some(RecordedEvent { tsc, event, a, b })
    }

    /// Records an event as `octopod_trace_record` does, for code that is not performance-critical. Only the ring's own CPU
    /// calls this.
    pub(crate) fn write(&self, traced: &RecordedEvent) {
        let position = self.head.fetch_add(SLOT_BYTES, Ordering::AcqRel);
        let slot = &self.slots[(position / SLOT_BYTES) as usize % self.slots.len()];
        for (word, value) in [(1, traced.tsc), (2, traced.a), (3, traced.b)] {
            slot[word].store(value, Ordering::Release);
        }
        slot[0].store(position | number_of(traced.event), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last of octopod and of a program, and others.
    const EVENTS: [u16; 6] = [
        1,
        30,
        FIRST_PROGRAM_EVENT,
        7,
        FIRST_PROGRAM_EVENT + MAX_PROGRAM_EVENTS as u16 - 1,
        FIRST_PROGRAM_EVENT + 5,
    ];

    fn traced(number: u64) -> RecordedEvent {
        RecordedEvent {
            tsc: number,
            event: EVENTS[number as usize % EVENTS.len()],
            a: !number,
            b: number << 7,
        }
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
    fn a_thread_in_the_recorder_begins_again_with_its_number() {
        for event in EVENTS {
            let number = number_of(event);
            // Before the recorder has added the position, and after it, up to the last one.
            for position in [0, SLOT_BYTES, 5 * SLOT_BYTES, POSITION_BITS] {
                assert_eq!(restarted_within(100..150, 120, number | position), (100, number));
            }
        }
        // The address behind the last store, others, and a register that is not the recorder's.
        for rip in [99, 150, 151, 0, u64::MAX] {
            assert_eq!(restarted_within(100..150, rip, u64::MAX), (rip, u64::MAX));
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
        slots[0][0].store(position | number_of(traced(0).event), Ordering::Release);
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
