//! Parts what the kernel writes into what is for people, byte by byte as it comes, and records.

use octopod::wire::MARKER;

/// A part of what the kernel wrote.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// For people.
    Text(Vec<u8>),
    /// A whole record, with its marker and without its line end.
    Record(Vec<u8>),
}

/// A record may begin anywhere, and ends with its line. What could be the beginning of one is held back until it is known
/// to be none.
pub struct Sieve {
    /// A record so far, or the part of a marker.
    held: Vec<u8>,
    /// A longer record is cut.
    max_record_bytes: usize,
}

impl Sieve {
    /// Nothing was seen yet.
    pub fn new(max_record_bytes: usize) -> Sieve {
        Sieve { held: Vec::new(), max_record_bytes }
    }

    /// Takes what came next; all of it comes out in order, here or later.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let marker = MARKER.as_bytes();
        let (mut pieces, mut text) = (Vec::new(), Vec::new());
        for &byte in bytes {
            if self.held.len() < marker.len() {
                if byte == marker[self.held.len()] {
                    self.held.push(byte);
                    continue;
                }
                text.append(&mut self.held);
                // A marker's first byte occurs in it once, so nothing of what was held can begin another.
                if byte == marker[0] {
                    self.held.push(byte);
                } else {
                    text.push(byte);
                }
            } else if byte == b'\n' {
                let record = std::mem::take(&mut self.held);
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Record(record));
            } else if self.held.len() < self.max_record_bytes {
                self.held.push(byte);
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        pieces
    }

    /// What is held back at the end.
    pub fn rest(self) -> Vec<u8> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sieved(chunks: &[&[u8]]) -> (String, Vec<String>) {
        let mut sieve = Sieve::new(64);
        let (mut text, mut records) = (Vec::new(), Vec::new());
        for piece in chunks.iter().flat_map(|chunk| sieve.take(chunk)) {
            match piece {
                Piece::Text(bytes) => text.extend(bytes),
                Piece::Record(bytes) => records.push(String::from_utf8(bytes).unwrap()),
            }
        }
        text.extend(sieve.rest());
        (String::from_utf8(text).unwrap(), records)
    }

    #[test]
    fn the_marker_begins_as_nothing_else_in_it() {
        assert_eq!(MARKER.bytes().filter(|byte| *byte == MARKER.as_bytes()[0]).count(), 1);
    }

    #[test]
    fn records_are_taken_out_however_the_bytes_are_cut() {
        let stream = format!("a\r\n{MARKER}\"prompt\"\r\noctopod> x@@octo {MARKER}{{}}\nb@octopod");
        let expected = (
            "a\r\noctopod> x@@octo b@octopod".to_owned(),
            vec![format!("{MARKER}\"prompt\"\r"), format!("{MARKER}{{}}")],
        );
        for size in 1..stream.len() {
            let chunks: Vec<_> = stream.as_bytes().chunks(size).collect();
            assert_eq!(sieved(&chunks), expected, "{size}");
        }
    }

    #[test]
    fn text_is_not_held_back() {
        let mut sieve = Sieve::new(64);
        assert_eq!(sieve.take(b"octopod> "), [Piece::Text(b"octopod> ".to_vec())]);
        assert_eq!(sieve.take(b"x@"), [Piece::Text(b"x".to_vec())]);
        assert_eq!(sieve.take(b"y"), [Piece::Text(b"@y".to_vec())]);
    }

    #[test]
    fn a_record_without_end_takes_no_memory_without_end() {
        let mut sieve = Sieve::new(64);
        sieve.take(MARKER.as_bytes());
        (0..1000).for_each(|_| assert!(sieve.take(&[b'x'; 100]).is_empty()));
        assert!(matches!(&sieve.take(b"\n")[..], [Piece::Record(record)] if record.len() == 64));
    }
}
