//! Formatted text of bounded length.

use core::fmt;

/// A line of at most `N` bytes. What does not fit is cut off at a character's edge.
#[derive(Clone, Copy)]
pub struct LineBuffer<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> LineBuffer<N> {
    /// An empty line.
    pub const fn new() -> LineBuffer<N> {
        LineBuffer { bytes: [0; N], length: 0 }
    }

    /// A line that holds the text.
    pub fn format(text: fmt::Arguments) -> LineBuffer<N> {
        let mut line = LineBuffer::new();
        // Writing never fails: what is too long is cut.
        let _ = fmt::Write::write_fmt(&mut line, text);
        line
    }

    /// Appends bytes that need not be text; what does not fit is cut off.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        let room = bytes.len().min(N - self.length);
        self.bytes[self.length..][..room].copy_from_slice(&bytes[..room]);
        self.length += room;
    }

    /// What was written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// What was written, if it is text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    /// Whether nothing was written.
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
