//! Reads the page-allocation traces of LLFree's evaluation (`eval/src/bin/replay.rs` of llfree-rs), and writes them in octopod's
//! own format.
//!
//! Such a trace is binary and little-endian, in pages of 4 KiB. The first page is the header: the number of pages, the number of
//! CPUs and the greatest frame number, 32 bits each. Each further page begins with the 32-bit number of a CPU. From offset 16 on
//! it has up to 255 events of 16 bytes; one with frame number 0 ends the page. An event has these fields, from the lowest bit up:
//!
//! | bits | field |
//! |---|---|
//! | 38 | time, in microseconds |
//! | 24 | frame number |
//! | 1 | 1 for an allocation, 0 for a free |
//! | 4 | order |
//! | 29 | GFP flags |
//! | 32 | process |
//!
//! The events are replayed in the order of their times. GFP flags and processes have no counterpart here. Linux frees what it
//! allocated in other pieces, and a trace begins while memory is in use:
//!
//! - A free of a part of a run splits the run into parts of that order.
//! - A free of several runs at once frees each.
//! - A free of frames that the trace has not allocated is left out.
//! - An allocation of frames that are allocated frees them first: the trace lacks their free.

use std::collections::BTreeMap;
use std::fmt::Write;

use octopod::config::MAX_CPUS;

/// The bytes of a page.
const PAGE: usize = 4096;

/// The offset of a page's first event.
const FIRST_EVENT: usize = 16;

/// The bytes of an event.
const EVENT: usize = 16;

/// An error in a trace of LLFree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LlfreeError {
    /// The file ends within a page, or after the header.
    #[error("offset {offset:#x}: the LLFree trace ends here, within a page or without an event")]
    Cut {
        /// The end of the file.
        offset: usize,
    },
    /// The header's number of CPUs.
    #[error("offset 0x4: the LLFree trace is for {cpus} CPUs, where 1 to {MAX_CPUS} are possible")]
    Cpus {
        /// The number.
        cpus: u32,
    },
    /// The CPU of a page.
    #[error("offset {offset:#x}: events of CPU {cpu} in an LLFree trace for {cpus} CPUs")]
    Cpu {
        /// The offset of the page.
        offset: usize,
        /// The CPU.
        cpu: u32,
        /// The header's number of CPUs.
        cpus: u32,
    },
    /// No event is an allocation.
    #[error("the LLFree trace has {events} events, and none is an allocation")]
    NoAllocation {
        /// The number of events.
        events: usize,
    },
    /// The frames of an event.
    #[error(
        "offset {offset:#x}: frame {frame:#x} of order {order} is not aligned, or above the greatest, {max:#x}"
    )]
    Frame {
        /// The offset of the event.
        offset: usize,
        /// Its frame number.
        frame: u32,
        /// Its order.
        order: u8,
        /// The header's greatest frame number.
        max: u32,
    },
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Event {
    time_us: u64,
    frame: u32,
    is_alloc: bool,
    order: u8,
    cpu: u32,
}

/// Returns `true` for a trace of LLFree. Its header contains zeros, and octopod's own traces are text.
pub fn is_llfree(bytes: &[u8]) -> bool {
    bytes.iter().take(12).any(|byte| *byte == 0)
}

/// The trace as text in octopod's format.
///
/// # Errors
/// The first error, with its offset.
pub fn to_text(bytes: &[u8]) -> Result<Vec<u8>, LlfreeError> {
    let mut events = events(bytes)?;
    // Stable: the events of a page stay in their order.
    events.sort_by_key(|event| event.time_us);
    let mut writer = Writer::default();
    events.iter().for_each(|event| writer.add(event));
    let Writer { text, unknown, again, .. } = writer;
    let count = events.len();
    if text.is_empty() {
        return Err(LlfreeError::NoAllocation { events: count });
    }
    let head = format!(
        "# From an LLFree trace of {count} events. Left out: {unknown} frees of frames that it does not allocate. Added: {again} \
         frees of frames that it allocates again.\n"
    );
    Ok((head + &text).into_bytes())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn events(bytes: &[u8]) -> Result<Vec<Event>, LlfreeError> {
    if !bytes.len().is_multiple_of(PAGE) || bytes.len() < 2 * PAGE {
        return Err(LlfreeError::Cut { offset: bytes.len() });
    }
    let (cpus, max) = (word(bytes, 4), word(bytes, 8));
    if cpus == 0 || cpus > MAX_CPUS {
        return Err(LlfreeError::Cpus { cpus });
    }
    let mut events = Vec::new();
    for (page, content) in bytes.chunks_exact(PAGE).enumerate().skip(1) {
        let offset = page * PAGE;
        let cpu = word(content, 0);
        if cpu >= cpus {
            return Err(LlfreeError::Cpu { offset, cpu, cpus });
        }
        for (at, sixteen) in content[FIRST_EVENT..].chunks_exact(EVENT).enumerate() {
            let bits = sixteen.try_into().map_or(0, u128::from_le_bytes);
            let field = |at: u32, width: u32| (bits >> at) as u64 & ((1 << width) - 1);
            let (time_us, frame, order) = (field(0, 38), field(38, 24) as u32, field(63, 4) as u8);
            if frame == 0 {
                break;
            }
            if !frame.is_multiple_of(1 << order) || frame > max {
                let offset = offset + FIRST_EVENT + at * EVENT;
                return Err(LlfreeError::Frame { offset, frame, order, max });
            }
            events.push(Event { time_us, frame, is_alloc: field(62, 1) == 1, order, cpu });
        }
    }
    if events.is_empty() {
        return Err(LlfreeError::Cut { offset: bytes.len() });
    }
    Ok(events)
}

/// Writes events in octopod's format.
#[derive(Default)]
struct Writer {
    text: String,
    /// The number of the next run.
    next: usize,
    /// The allocated runs: the number and the order of each, by its first frame.
    runs: BTreeMap<u32, (usize, u8)>,
    /// Frees of frames that were not allocated.
    unknown: u64,
    /// Frees that the trace lacks.
    again: u64,
}

impl Writer {
    fn add(&mut self, event: &Event) {
        let Event { frame, order, cpu, .. } = *event;
        if event.is_alloc {
            self.again += self.free(frame, order, cpu);
            let id = self.next;
            self.line(format_args!("+{id} {order} {cpu}"));
            self.runs.insert(frame, (id, order));
            self.next += 1;
        } else if self.free(frame, order, cpu) == 0 {
            self.unknown += 1;
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A string takes everything.
        let _ = writeln!(self.text, "{line}");
    }

    /// Frees what is allocated of 2^order frames, and returns the number of frees.
    fn free(&mut self, frame: u32, order: u8, cpu: u32) -> u64 {
        let around = self.runs.range(..=frame).next_back().map(|(first, run)| (*first, *run));
        if let Some((first, (id, larger))) = around
            && larger > order
            && frame < first + (1 << larger)
        {
            self.split(first, id, larger, order, cpu);
        }
        let within: Vec<u32> =
            self.runs.range(frame..frame + (1 << order)).map(|(first, _)| *first).collect();
        for first in &within {
            if let Some((id, _)) = self.runs.remove(first) {
                self.line(format_args!("-{id} {cpu}"));
            }
        }
        within.len() as u64
    }

    fn split(&mut self, first: u32, id: usize, larger: u8, order: u8, cpu: u32) {
        let parts = 1 << (larger - order);
        self.line(format_args!("={id} {order} {parts} {cpu}"));
        self.runs.remove(&first);
        for part in 0..parts {
            self.runs.insert(first + (part << order), (self.next, order));
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use octopod::stress::replay;
    use proptest::prelude::*;

    use super::*;

    /// An event's time, frame, kind and order, on a CPU.
    type Row = (u32, u64, u32, bool, u8);

    /// A trace with a page for each row.
    fn trace(cpus: u32, max: u32, rows: &[Row]) -> Vec<u8> {
        let mut bytes = vec![0; PAGE];
        for (at, value) in [rows.len() as u32, cpus, max].into_iter().enumerate() {
            bytes[4 * at..4 * at + 4].copy_from_slice(&value.to_le_bytes());
        }
        for &(cpu, time, frame, is_alloc, order) in rows {
            let (flags, process) = (0x1fff_ffff_u128, 0xffff_ffff_u128);
            let bits = u128::from(time)
                | u128::from(frame) << 38
                | u128::from(is_alloc) << 62
                | u128::from(order) << 63
                | flags << 67
                | process << 96;
            let mut page = vec![0; PAGE];
            page[..4].copy_from_slice(&cpu.to_le_bytes());
            page[FIRST_EVENT..FIRST_EVENT + EVENT].copy_from_slice(&bits.to_le_bytes());
            bytes.extend(page);
        }
        bytes
    }

    /// The lines of the text after its head, which octopod's parser accepts.
    fn lines(rows: &[Row]) -> Vec<String> {
        let bytes = trace(4, 1 << 20, rows);
        assert!(is_llfree(&bytes));
        let text = to_text(&bytes).unwrap();
        assert!(!is_llfree(&text));
        replay::check(&text).unwrap();
        String::from_utf8(text).unwrap().lines().skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn events_of_all_cpus_are_in_the_order_of_their_times() {
        let rows =
            [(1, 30, 8, false, 3), (0, 20, 8, true, 3), (3, 10, 1, true, 0), (2, 1 << 37, 1, false, 0)];
        assert_eq!(lines(&rows), ["+0 0 3", "+1 3 0", "-1 1", "-0 2"]);
    }

    #[test]
    fn runs_are_freed_in_parts_and_together() {
        // A quarter of a run, its other half, and the last quarter.
        let rows = [(0, 1, 16, true, 2), (1, 2, 17, false, 0), (1, 3, 18, false, 1), (1, 4, 16, false, 0)];
        assert_eq!(lines(&rows), ["+0 2 0", "=0 0 4 1", "-2 1", "-3 1", "-4 1", "-1 1"]);
        // Two runs by one free.
        let rows = [(0, 1, 16, true, 0), (0, 2, 17, true, 0), (1, 3, 16, false, 1)];
        assert_eq!(lines(&rows), ["+0 0 0", "+1 0 0", "-0 1", "-1 1"]);
    }

    #[test]
    fn what_the_trace_does_not_know_is_counted() {
        let rows = [(0, 1, 16, false, 2), (0, 2, 16, true, 2), (1, 3, 18, true, 0)];
        let text = String::from_utf8(to_text(&trace(4, 32, &rows)).unwrap()).unwrap();
        assert!(text.starts_with("# From an LLFree trace of 3 events. Left out: 1 frees"), "{text}");
        assert!(text.contains("Added: 1 frees"), "{text}");
        assert!(text.ends_with("+0 2 0\n=0 0 4 1\n-3 1\n+5 0 1\n"), "{text}");
    }

    #[test]
    fn a_malformed_trace_is_refused_with_the_offset() {
        let whole = trace(2, 64, &[(0, 1, 16, true, 2), (1, 2, 16, false, 2)]);
        let error = |bytes: &[u8]| to_text(bytes).unwrap_err().to_string();
        assert!(error(&whole[..whole.len() - 1]).starts_with("offset 0x2fff: the LLFree trace ends here"));
        assert!(error(&whole[..PAGE]).starts_with("offset 0x1000: the LLFree trace ends here"));
        assert!(
            error(&trace(0, 64, &[(0, 1, 16, true, 2)]))
                .starts_with("offset 0x4: the LLFree trace is for 0 CPUs")
        );
        assert!(
            error(&trace(2, 64, &[(0, 1, 16, true, 2), (2, 1, 16, true, 2)]))
                .starts_with("offset 0x2000: events of CPU 2")
        );
        assert!(
            error(&trace(2, 64, &[(0, 1, 18, true, 2)])).starts_with("offset 0x1010: frame 0x12 of order 2")
        );
        assert!(
            error(&trace(2, 64, &[(0, 1, 65, true, 0)])).starts_with("offset 0x1010: frame 0x41 of order 0")
        );
        assert!(
            error(&trace(2, 64, &[(0, 1, 0, true, 0)]))
                .starts_with("offset 0x2000: the LLFree trace ends here")
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 2 * PAGE..=2 * PAGE), cpus in 1u32..9) {
            let mut bytes = bytes;
            bytes[4..8].copy_from_slice(&cpus.to_le_bytes());
            bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
            bytes[PAGE..PAGE + 4].copy_from_slice(&0u32.to_le_bytes());
            if let Ok(text) = to_text(&bytes) {
                prop_assert!(replay::check(&text).is_ok());
            }
        }

        #[test]
        fn whatever_is_traced_can_be_replayed(rows in proptest::collection::vec((0u32..4, 0u64..50, 1u32..64, any::<bool>(), 0u8..=4), 1..80)) {
            let rows: Vec<Row> = rows
                .into_iter()
                .map(|(cpu, time, frame, is_alloc, order)| (cpu, time, (frame << order).max(1 << order), is_alloc, order))
                .collect();
            match to_text(&trace(4, 1 << 20, &rows)) {
                Ok(text) => prop_assert!(replay::check(&text).is_ok(), "{}", String::from_utf8_lossy(&text)),
                Err(error) => {
                    prop_assert_eq!(error, LlfreeError::NoAllocation { events: rows.len() });
                    prop_assert!(rows.iter().all(|(.., is_alloc, _)| !is_alloc));
                }
            }
        }
    }
}
