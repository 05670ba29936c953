//! Separates the kernel's output, byte by byte as it arrives, into text and records.

use crate::run::records::framing::Match;
use crate::run::records::{Framing, Reading};

/// A part of what the kernel wrote.
#[derive(Debug, PartialEq)]
pub enum Piece {
    /// For people.
    Text(Vec<u8>),
    /// A line that began as a record.
    Record(Reading),
}

/// A record may begin anywhere, and ends with its line. What could be the beginning of one is held back until it is known
/// to be none.
pub struct RecordFilter {
    /// A record so far, or the part of a frame.
    held: Vec<u8>,
    /// True if what is held is a record.
    in_record: bool,
    /// A longer record is cut.
    max_record_bytes: usize,
}

impl RecordFilter {
    /// Nothing was seen yet.
    pub fn new(max_record_bytes: usize) -> RecordFilter {
        RecordFilter { held: Vec::new(), in_record: false, max_record_bytes }
    }

    /// The next piece of what came; takes it from `bytes`, all of which comes out in order, here or later. `None` when nothing
    /// is left.
    pub fn next(&mut self, bytes: &mut &[u8], framing: &mut Framing) -> Option<Piece> {
        let mut text = Vec::new();
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.in_record {
                // It begins a piece of its own.
                if !text.is_empty() {
                    break;
                }
                *bytes = rest;
                if byte == b'\n' {
                    self.in_record = false;
                    let record = std::mem::take(&mut self.held);
                    return Some(Piece::Record(framing.read(&String::from_utf8_lossy(&record))));
                }
                if self.held.len() < self.max_record_bytes {
                    self.held.push(byte);
                }
                continue;
            }
            *bytes = rest;
            self.held.push(byte);
            match framing.matches(&self.held) {
                Match::Yes => self.in_record = true,
                Match::Maybe => {}
                Match::No => {
                    self.held.pop();
                    text.append(&mut self.held);
                    // A marker's first byte occurs in a frame once, so nothing of what was held can begin another.
                    self.held.push(byte);
                    if framing.matches(&self.held) == Match::No {
                        text.append(&mut self.held);
                    }
                }
            }
        }
        (!text.is_empty()).then_some(Piece::Text(text))
    }

    /// The bytes that are held back at the end.
    pub fn rest(&mut self) -> Vec<u8> {
        self.in_record = false;
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use octopod::wire::{BacktraceFrame, MARKER, Nonce, Record};

    use super::*;

    const NONCE: u64 = 0x5f3a_9c0e_1b2d_4f68;

    fn framing() -> Framing {
        Framing::new(Nonce::new(NONCE).unwrap())
    }

    fn sieved(chunks: &[&[u8]]) -> (String, Vec<u64>) {
        let (mut filter, mut framing) = (RecordFilter::new(80), framing());
        let (mut text, mut records) = (Vec::new(), Vec::new());
        for mut chunk in chunks.iter().copied() {
            while let Some(piece) = filter.next(&mut chunk, &mut framing) {
                match piece {
                    Piece::Text(bytes) => text.extend(bytes),
                    Piece::Record(reading) => {
                        let Some(Ok(record)) = reading.record else { panic!("{reading:?}") };
                        let Record::BacktraceFrame(BacktraceFrame { address }) = *record else {
                            panic!("{record:?}")
                        };
                        records.push(address);
                    }
                }
            }
        }
        text.extend(filter.rest());
        (String::from_utf8(text).unwrap(), records)
    }

    #[test]
    fn the_marker_begins_as_nothing_else_in_a_frame() {
        assert_eq!(MARKER.bytes().filter(|byte| *byte == MARKER.as_bytes()[0]).count(), 1);
        assert!(!"0123456789abcdef: ".contains(char::from(MARKER.as_bytes()[0])));
    }

    #[test]
    fn records_are_taken_out_however_the_bytes_are_cut() {
        let own = |number: u32| {
            format!("{MARKER}:{NONCE:016x}:{number} {{\"frame\":{{\"address\":{number}}}}}\r\n")
        };
        let forged = format!("{MARKER} {{\"refused\":{{\"reason\":\"x\"}}}}");
        let stream = format!(
            "a\r\n{}octopod> x@@octo @octopod:5{}octopod> help {forged}\r\n{}b@octopod:5f",
            own(0),
            own(1),
            own(2)
        );
        let expected = (
            format!("a\r\noctopod> x@@octo @octopod:5octopod> help {forged}\r\nb@octopod:5f"),
            vec![0, 1, 2],
        );
        for size in 1..stream.len() {
            let chunks: Vec<_> = stream.as_bytes().chunks(size).collect();
            assert_eq!(sieved(&chunks), expected, "{size}");
        }
    }

    fn taken(filter: &mut RecordFilter, framing: &mut Framing, mut bytes: &[u8]) -> Vec<Piece> {
        std::iter::from_fn(|| filter.next(&mut bytes, framing)).collect()
    }

    #[test]
    fn text_is_not_held_back() {
        let (mut filter, mut framing) = (RecordFilter::new(64), framing());
        let text = |text: &str| [Piece::Text(text.as_bytes().to_vec())];
        assert_eq!(taken(&mut filter, &mut framing, b"octopod> "), text("octopod> "));
        assert_eq!(taken(&mut filter, &mut framing, b"x@"), text("x"));
        assert_eq!(taken(&mut filter, &mut framing, b"y"), text("@y"));
    }

    #[test]
    fn a_record_without_end_takes_no_memory_without_end() {
        let (mut filter, mut framing) = (RecordFilter::new(64), framing());
        assert!(taken(&mut filter, &mut framing, format!("{MARKER} ").as_bytes()).is_empty());
        (0..1000).for_each(|_| assert!(taken(&mut filter, &mut framing, &[b'x'; 100]).is_empty()));
        assert_eq!(filter.held.len(), 64);
        assert!(matches!(&taken(&mut filter, &mut framing, b"\n")[..], [Piece::Record(_)]));
    }
}
