//! Text in a bounded number of lines of bounded length.

use core::fmt;

/// Splits text into at most `MOST` lines of at most `BYTES` bytes, and passes each to a function. A longer line is truncated;
/// further lines are counted. A control character becomes a `?`.
pub(crate) struct BoundedLines<F: FnMut(&str), const MOST: usize, const BYTES: usize> {
    line: heapless::String<BYTES>,
    passed: usize,
    dropped: usize,
    pass: F,
}

impl<F: FnMut(&str), const MOST: usize, const BYTES: usize> BoundedLines<F, MOST, BYTES> {
    pub(crate) const fn new(pass: F) -> Self {
        BoundedLines { line: heapless::String::new(), passed: 0, dropped: 0, pass }
    }

    /// Passes the last line, if it has no line end, and returns the number of lines that were dropped.
    pub(crate) fn finish(mut self) -> usize {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.dropped
    }

    fn end_line(&mut self) {
        if self.passed < MOST {
            self.passed += 1;
            (self.pass)(&self.line);
        } else {
            self.dropped += 1;
        }
        self.line.clear();
    }
}

impl<F: FnMut(&str), const MOST: usize, const BYTES: usize> fmt::Write for BoundedLines<F, MOST, BYTES> {
    /// Fails once a line was dropped, so that a writer that checks its results ends.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '\n' => self.end_line(),
                // A truncated line takes no shorter character after a longer one that did not fit.
                _ if self.line.capacity() - self.line.len() < character.len_utf8() => {}
                _ => drop(self.line.push(if character.is_control() { '?' } else { character })),
            }
        }
        if self.dropped == 0 { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use core::fmt::Write as _;

    use super::*;

    extern crate std;
    use std::string::{String, ToString};
    use std::vec::Vec;

    fn split(texts: &[&str]) -> (Vec<String>, usize, bool) {
        let mut passed = Vec::new();
        let mut lines = BoundedLines::<_, 3, 8>::new(|line: &str| passed.push(line.to_string()));
        let refused = texts.iter().filter(|text| lines.write_str(text).is_err()).count();
        let fits = refused == 0;
        let dropped = lines.finish();
        (passed, dropped, fits)
    }

    #[test]
    fn lines_are_passed_whole_whatever_pieces_they_come_in() {
        let (passed, dropped, fits) = split(&["a", "b\nc", "\n", "", "d"]);
        assert_eq!((passed, dropped, fits), (Vec::from(["ab", "c", "d"].map(String::from)), 0, true));
        assert_eq!(split(&[]), (Vec::new(), 0, true));
        assert_eq!(split(&["\n"]).0, [""]);
    }

    #[test]
    fn long_lines_and_further_lines_are_cut() {
        let (passed, dropped, fits) = split(&["123456789\n1234567é8\n\x1b[0m\nfour\nfive"]);
        assert_eq!(passed, ["12345678", "12345678", "?[0m"]);
        assert_eq!((dropped, fits), (2, false));
    }
}
