//! Formatted text of bounded length.

use core::fmt;

/// A line of at most `N` bytes. Text that does not fit is truncated at a character boundary.
#[derive(Clone, Copy)]
pub struct LineBuffer<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> LineBuffer<N> {
    /// Creates an empty line.
    pub const fn new() -> LineBuffer<N> {
        LineBuffer { bytes: [0; N], length: 0 }
    }

    /// Creates a line from formatted text.
    pub fn format(text: fmt::Arguments) -> LineBuffer<N> {
        let mut line = LineBuffer::new();
        // Writing never fails; it truncates.
        let _ = fmt::Write::write_fmt(&mut line, text);
        line
    }

    /// Creates `FILE:LINE`. A path that does not fit loses its beginning, and `…` stands in its place.
    pub(crate) fn source_line(file: &str, line: u32) -> LineBuffer<N> {
        let line = LineBuffer::<11>::format(format_args!(":{line}"));
        let room = N.saturating_sub(line.as_bytes().len());
        let mut text = LineBuffer::new();
        if file.len() <= room {
            text.push_bytes(file.as_bytes());
        } else {
            let dots = "…";
            let cut = file.len() - room.saturating_sub(dots.len());
            text.push_bytes(dots.as_bytes());
            text.push_bytes(&file.as_bytes()[file.ceil_char_boundary(cut)..]);
        }
        text.push_bytes(line.as_bytes());
        text
    }

    /// Appends bytes, which need not be UTF-8. Bytes that do not fit are dropped.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        let room = bytes.len().min(N - self.length);
        self.bytes[self.length..][..room].copy_from_slice(&bytes[..room]);
        self.length += room;
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The text; empty if the bytes are not UTF-8.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    /// Whether the line is empty.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl<const N: usize> Default for LineBuffer<N> {
    fn default() -> Self {
        LineBuffer::new()
    }
}

impl<const N: usize> fmt::Debug for LineBuffer<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl<const N: usize> fmt::Write for LineBuffer<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = text.floor_char_boundary(N - self.length);
        self.bytes[self.length..][..room].copy_from_slice(&text.as_bytes()[..room]);
        self.length += room;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_line_that_does_not_fit_keeps_its_end() {
        let line = |file, line| LineBuffer::<16>::source_line(file, line);
        assert_eq!(line("src/a.rs", 7).as_str(), "src/a.rs:7");
        assert_eq!(line("0123456789abc", 71).as_str(), "0123456789abc:71");
        assert_eq!(line("0123456789abcd", 71).as_str(), "…456789abcd:71");
        assert_eq!(line("01234567890äbcd", 1).as_str(), "…567890äbcd:1");
        // The cut is within a character.
        assert_eq!(line("012345äbcdefghijk", 1).as_str(), "…bcdefghijk:1");
    }
}
