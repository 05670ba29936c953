//! The frame that distinguishes records from other text on the serial line.
//!
//! A record is one line: [`MARKER`], a space, one JSON object. The launcher chooses a random [`Nonce`] for each run and passes it
//! on the kernel command line (`record_nonce=`). The kernel puts the nonce and a sequence number, from 0 on, into the frame of
//! each record:
//!
//! ```text
//! @octopod:5f3a9c0e1b2d4f68:17 {"boot":{...}}
//! @octopod {"refused":{"reason":"this processor lacks NX"}}
//! ```
//!
//! Typed, logged or quoted text cannot contain the nonce, so it is never taken for a record. Sequence numbers reveal lost and
//! repeated records, and a second boot, which begins at 0 again.
//!
//! A kernel without a nonce sends records without one: a kernel that was started by hand, or that exits before it parses its
//! command line (rt0 on an unsupported processor). The launcher accepts such records only in a run without a record with the
//! run's nonce.

use core::fmt;
use core::num::NonZeroU64;

/// The beginning of a record's line. All other lines on the serial port are log lines.
pub const MARKER: &str = "@octopod";

/// The kernel command-line parameter of the nonce.
pub const NONCE_PARAMETER: &str = "record_nonce";

/// The number of hexadecimal digits of a nonce.
pub const NONCE_DIGITS: usize = 16;

/// The maximum size of a frame, separators and line end included, in bytes.
pub const MAX_FRAME_BYTES: usize = MARKER.len() + 1 + NONCE_DIGITS + 1 + 10 + 1 + 2;

/// The random number in the records of a run; not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nonce(NonZeroU64);

impl Nonce {
    /// Returns the nonce of this number; `None` for 0.
    pub const fn new(number: u64) -> Option<Nonce> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Nonce(number)),
            None => None,
        }
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// Parses [`NONCE_DIGITS`] lower-case hexadecimal digits.
    pub fn from_digits(digits: &[u8]) -> Option<Nonce> {
        if digits.len() != NONCE_DIGITS {
            return None;
        }
        let mut number = 0;
        for digit in digits {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            number = number << 4 | u64::from(value);
        }
        Nonce::new(number)
    }

    /// Returns the last nonce on a command line. The other parameters may be invalid: their errors are reported by a record
    /// with the nonce.
    pub fn in_command_line(line: &[u8]) -> Option<Nonce> {
        let words = line.split(u8::is_ascii_whitespace);
        let value = |word: &'_ [u8]| {
            let (parameter, value) = word.split_at_checked(NONCE_PARAMETER.len())?;
            let digits = value.strip_prefix(b"=")?;
            if parameter == NONCE_PARAMETER.as_bytes() { Nonce::from_digits(digits) } else { None }
        };
        words.rev().find_map(value)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The frame before a record's JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordFrame {
    /// The nonce and the sequence number; `None` from a kernel without a nonce.
    pub tag: Option<(Nonce, u32)>,
}

impl fmt::Display for RecordFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tag {
            Some((nonce, number)) => write!(f, "{MARKER}:{nonce}:{number} "),
            None => write!(f, "{MARKER} "),
        }
    }
}

impl RecordFrame {
    /// Parses the frame at the start of `bytes`; returns it and its length in bytes.
    pub fn read(bytes: &[u8]) -> Option<(RecordFrame, usize)> {
        let rest = bytes.strip_prefix(MARKER.as_bytes())?;
        if rest.starts_with(b" ") {
            return Some((RecordFrame { tag: None }, MARKER.len() + 1));
        }
        let (nonce, rest) = rest.strip_prefix(b":")?.split_at_checked(NONCE_DIGITS)?;
        let nonce = Nonce::from_digits(nonce)?;
        let rest = rest.strip_prefix(b":")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        if rest.get(digits) != Some(&b' ') {
            return None;
        }
        Some((RecordFrame { tag: Some((nonce, number)) }, bytes.len() - rest.len() + digits + 1))
    }

    /// Whether `bytes`, which are not a complete frame, are the prefix of one.
    pub fn may_begin(bytes: &[u8]) -> bool {
        let marker = MARKER.as_bytes();
        if bytes.len() <= marker.len() {
            return marker.starts_with(bytes);
        }
        let (head, tail) = bytes.split_at(marker.len());
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        head == marker
            && tail.iter().enumerate().all(|(at, byte)| match at {
                0 => *byte == b':',
                at if at <= NONCE_DIGITS => is_hex(byte),
                at if at == NONCE_DIGITS + 1 => *byte == b':',
                at => byte.is_ascii_digit() && at < NONCE_DIGITS + 12,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "5f3a9c0e1b2d4f68";

    fn nonce() -> Nonce {
        Nonce::from_digits(NONCE.as_bytes()).unwrap()
    }

    #[test]
    fn rt0_writes_the_marker_without_a_nonce() {
        let source = include_str!("../boot/multiboot_entry.S");
        let plain = RecordFrame { tag: None }.to_string();
        // \173 is an opening brace there.
        assert!(source.contains(&format!("\\r\\n{plain}\\173")));
    }

    #[test]
    fn an_encoded_frame_is_parsed_back() {
        for tag in [None, Some((nonce(), 0)), Some((nonce(), u32::MAX))] {
            let written = RecordFrame { tag }.to_string();
            assert!(written.len() + 2 <= MAX_FRAME_BYTES, "{written}");
            assert_eq!(RecordFrame::read(written.as_bytes()), Some((RecordFrame { tag }, written.len())));
            let behind = format!("{written}{{}}");
            assert_eq!(RecordFrame::read(behind.as_bytes()), Some((RecordFrame { tag }, written.len())));
            for length in 0..written.len() {
                let part = &written.as_bytes()[..length];
                assert_eq!(RecordFrame::read(part), None, "{length}");
                assert!(RecordFrame::may_begin(part), "{length}");
            }
        }
    }

    #[test]
    fn a_malformed_frame_is_refused() {
        for text in [
            "@octopod",
            "@octopod:{",
            "@octopod:5f3a9c0e1b2d4f6:1 ",
            "@octopod:5F3A9C0E1B2D4F68:1 ",
            "@octopod:0000000000000000:1 ",
            "@octopod:5f3a9c0e1b2d4f68 ",
            "@octopod:5f3a9c0e1b2d4f68: ",
            "@octopod:5f3a9c0e1b2d4f68:+1 ",
            "@octopod:5f3a9c0e1b2d4f68:4294967296 ",
            "@octopods ",
            " @octopod ",
        ] {
            assert_eq!(RecordFrame::read(text.as_bytes()), None, "{text}");
        }
        for text in
            ["@octopus", "x", "@octopod:g", "@octopod:5f3a9c0e1b2d4f68:x", "@octopod:5f3a9c0e1b2d4f68 "]
        {
            assert!(!RecordFrame::may_begin(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_nonce_is_found_on_an_invalid_command_line_too() {
        let found = |line: &str| Nonce::in_command_line(line.as_bytes()).map(|nonce| nonce.to_string());
        assert_eq!(found(&format!("record_nonce={NONCE} work=boot")), Some(NONCE.to_owned()));
        assert_eq!(
            found(&format!("fro \u{ff} record_nonce=00000000000000a1\trecord_nonce={NONCE}")),
            Some(NONCE.to_owned())
        );
        for line in
            ["", "record_nonce=", "record_nonce=1", "record_nonces=5f3a9c0e1b2d4f68", "x=record_nonce=1"]
        {
            assert_eq!(found(line), None, "{line}");
        }
        let hidden = format!("xrecord_nonce={NONCE} record_nonce={NONCE}0");
        assert_eq!(found(&hidden), None);
    }
}
