//! The terminal behind standard error, on which `indicatif` draws through the [`Outlet`](super::outlet::Outlet).

use std::io::{self, IsTerminal};

use indicatif::{ProgressDrawTarget, TermLike};
use rustix::termios::tcgetwinsize;

use crate::present::terminal::outlet::{Handle, Stream};

/// A terminal's size where it does not say: the usual one.
const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

/// Pictures a second, at most.
const HERTZ: u8 = 20;

/// Returns the target of bars; hidden where standard error is no terminal.
pub(crate) fn target(to: Handle) -> ProgressDrawTarget {
    if !io::stderr().is_terminal() {
        return ProgressDrawTarget::hidden();
    }
    ProgressDrawTarget::term_like_with_hz(Box::new(Terminal { to }), HERTZ)
}

#[derive(Debug)]
struct Terminal {
    to: Handle,
}

impl Terminal {
    fn put(&self, text: &str) -> io::Result<()> {
        self.to.write(Stream::Stderr, text.as_bytes());
        Ok(())
    }

    /// A control sequence with a count (ECMA-48, 8.3.18 to 8.3.22).
    fn sequence(&self, count: usize, end: char) -> io::Result<()> {
        if count == 0 { Ok(()) } else { self.put(&format!("\u{1b}[{count}{end}")) }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        tcgetwinsize(io::stderr())
            .ok()
            .map(|size| size.ws_col)
            .filter(|columns| *columns > 0)
            .unwrap_or(COLUMNS)
    }

    fn height(&self) -> u16 {
        tcgetwinsize(io::stderr()).ok().map(|size| size.ws_row).filter(|rows| *rows > 0).unwrap_or(ROWS)
    }

    fn move_cursor_up(&self, count: usize) -> io::Result<()> {
        self.sequence(count, 'A')
    }

    fn move_cursor_down(&self, count: usize) -> io::Result<()> {
        self.sequence(count, 'B')
    }

    fn move_cursor_right(&self, count: usize) -> io::Result<()> {
        self.sequence(count, 'C')
    }

    fn move_cursor_left(&self, count: usize) -> io::Result<()> {
        self.sequence(count, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.put(&format!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put("\r\u{1b}[2K")
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
