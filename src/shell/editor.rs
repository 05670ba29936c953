//! The line editor: `ushell` between [keys](super::keys) and a terminal.
//!
//! The library edits, moves the cursor, and asks for history and completion. Keys that it does not know are emulated by those
//! that it does (End is: Right until it beeps). It shows its line to its completer only, so [`Editor::contents`] requests a
//! completion to read it.

use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::fmt::Write as _;

use heapless::{Deque, String, Vec};
use ushell::autocomplete::Autocomplete;
use ushell::history::History;
use ushell::{Input, Read, UShell, Write, control};

use super::complete::{Completion, complete, each_candidate};
use super::keys::Key;
use super::parse::Vocabulary;

/// The longest line, in characters. Longer lines are not executed.
pub(crate) const MAX_LINE: usize = 120;

/// The number of lines in the history.
pub(crate) const HISTORY: usize = 8;

/// The size of the output buffer, in bytes.
const OUT_BYTES: usize = 256;

/// The prompt.
pub(crate) const PROMPT: &str = "octopod> ";

/// A line.
pub(crate) type Line = String<MAX_LINE>;

const UP: &[u8] = b"\x1b[A";
const DOWN: &[u8] = b"\x1b[B";
const RIGHT: &[u8] = b"\x1b[C";
const LEFT: &[u8] = b"\x1b[D";

/// The output of the editor.
pub(crate) trait Terminal {
    /// Writes the bytes.
    fn show(&mut self, bytes: &[u8]);
}

/// The result of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EditorEvent {
    /// The line is complete, without trailing spaces. The editor is empty.
    Line(Line),
    /// The line is complete, but too long.
    TooLong,
    /// The line was discarded.
    Dropped,
    /// The end of input.
    End,
}

/// The line editor.
pub(crate) struct Editor<T: Terminal> {
    shell: UShell<Port<T>, Completer, Lines, MAX_LINE>,
    /// Whether characters of this line were rejected.
    is_cut: bool,
}

impl<T: Terminal> Editor<T> {
    /// An editor with an empty line.
    pub(crate) fn new(terminal: T, vocabulary: Vocabulary) -> Editor<T> {
        let port = Port { next: None, out: Vec::new(), terminal, is_mute: false, has_beeped: false };
        let completer =
            Completer { vocabulary, is_probing: Cell::new(false), seen: RefCell::new(String::new()) };
        Editor { shell: UShell::new(port, completer, Lines::new()), is_cut: false }
    }

    /// The terminal.
    #[cfg(test)]
    pub fn terminal(&mut self) -> &mut T {
        &mut self.port().terminal
    }

    /// Draws the prompt and the line, also after other output.
    pub(crate) fn draw(&mut self) {
        let (line, cursor) = self.contents();
        let back = line.len() - cursor;
        let port = self.port();
        port.put(b"\r\x1b[K");
        port.put(PROMPT.as_bytes());
        port.put(line.as_bytes());
        (0..back).for_each(|_| port.put(LEFT));
        port.flush();
    }

    /// Handles a key.
    pub(crate) fn press(&mut self, key: Key) -> Option<EditorEvent> {
        let event = self.take(key);
        self.port().flush();
        event
    }

    fn take(&mut self, key: Key) -> Option<EditorEvent> {
        match key {
            Key::Text(byte) => self.text(byte),
            Key::Enter => return Some(self.enter()),
            Key::Tab => self.tab(),
            Key::Backspace => self.once(&[control::BS]),
            Key::Delete => self.delete(),
            Key::Left => self.once(LEFT),
            Key::Right => self.once(RIGHT),
            Key::Home => self.until_beep(LEFT),
            Key::End => self.until_beep(RIGHT),
            // The history replaces a line only at its end.
            Key::Up => {
                self.until_beep(RIGHT);
                self.once(UP);
            }
            Key::Down => {
                self.until_beep(RIGHT);
                self.once(DOWN);
            }
            Key::EraseBefore => self.until_beep(&[control::BS]),
            Key::Interrupt => return Some(self.drop_line()),
            Key::EndOfInput if self.contents().0.is_empty() && !self.is_cut => return Some(EditorEvent::End),
            Key::EndOfInput => self.delete(),
            Key::Redraw => self.draw(),
        }
        None
    }

    fn text(&mut self, byte: u8) {
        // In the middle of a full line the library would overwrite characters.
        let (line, cursor) = self.contents();
        let fits = line.len() < MAX_LINE;
        if !fits && cursor < line.len() {
            self.port().has_beeped = true;
        } else {
            self.feed(&[byte]);
        }
        self.is_cut |= !fits;
        if !fits {
            self.port().put(&[control::BELL]);
        }
    }

    fn enter(&mut self) -> EditorEvent {
        let is_cut = core::mem::take(&mut self.is_cut);
        if is_cut {
            self.shell.reset();
            self.port().put(b"\r\n");
            return EditorEvent::TooLong;
        }
        self.port().next = Some(control::CR);
        let mut line = Line::new();
        if let Ok(Some(Input::Command((name, arguments)))) = self.shell.poll() {
            // It fits: it is the line, split at its first space.
            let _ = line.push_str(name);
            if !arguments.is_empty() {
                let _ = write!(line, " {arguments}");
            }
            line.truncate(line.trim_ascii_end().len());
        }
        self.port().put(b"\r\n");
        EditorEvent::Line(line)
    }

    fn drop_line(&mut self) -> EditorEvent {
        self.shell.reset();
        self.shell.get_history_mut().reset_index();
        self.is_cut = false;
        self.port().put(b"^C\r\n");
        EditorEvent::Dropped
    }

    fn delete(&mut self) {
        if self.feed(RIGHT) {
            self.feed(&[control::BS]);
        }
    }

    fn tab(&mut self) {
        let (line, cursor) = self.contents();
        if cursor < line.len() {
            // The library would drop the characters after the cursor.
            return;
        }
        self.feed(&[control::TAB]);
        let vocabulary = self.shell.get_autocomplete_mut().vocabulary;
        if let Completion::Several("") = complete(&line, &vocabulary) {
            self.port().put(b"\r\n");
            each_candidate(&line, &vocabulary, &mut |name| {
                let port = self.shell.get_serial_mut();
                port.put(name.as_bytes());
                port.put(b"  ");
            });
            self.port().put(b"\r\n");
            self.draw();
        }
    }

    /// The line, and the cursor's index in it.
    pub(crate) fn contents(&mut self) -> (Line, usize) {
        let was_mute = core::mem::replace(&mut self.port().is_mute, true);
        let behind = self.repeat(RIGHT);
        self.shell.get_autocomplete_mut().is_probing.set(true);
        self.feed(&[control::TAB]);
        let completer = self.shell.get_autocomplete_mut();
        completer.is_probing.set(false);
        let line = completer.seen.get_mut().clone();
        for _ in 0..behind {
            self.feed(LEFT);
        }
        self.port().is_mute = was_mute;
        let cursor = line.len() - behind;
        (line, cursor)
    }

    /// Repeats a key until the library beeps, which it does when the key has no effect. Returns how often it did not beep.
    fn repeat(&mut self, key: &[u8]) -> usize {
        (0..MAX_LINE).take_while(|_| self.feed(key)).count()
    }

    fn until_beep(&mut self, key: &[u8]) {
        self.repeat(key);
    }

    fn once(&mut self, key: &[u8]) {
        self.feed(key);
    }

    /// Sends a key to the library. Returns whether it had an effect: no beep.
    fn feed(&mut self, key: &[u8]) -> bool {
        self.port().has_beeped = false;
        for &byte in key {
            self.port().next = Some(byte);
            // This cannot fail: the port does not, lines are ASCII, and the history accepts all. `Keys` has decoded control
            // characters.
            let _ = self.shell.poll();
        }
        !self.port().has_beeped
    }

    fn port(&mut self) -> &mut Port<T> {
        self.shell.get_serial_mut()
    }
}

/// The serial port that the library reads and writes.
struct Port<T> {
    next: Option<u8>,
    out: Vec<u8, OUT_BYTES>,
    terminal: T,
    is_mute: bool,
    /// Whether the library has beeped.
    has_beeped: bool,
}

impl<T: Terminal> Port<T> {
    fn put(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.out.is_full() {
                self.flush();
            }
            // There is room after the flush.
            let _ = self.out.push(byte);
        }
    }

    fn flush(&mut self) {
        self.terminal.show(&self.out);
        self.out.clear();
    }
}

impl<T: Terminal> Read<u8> for Port<T> {
    type Error = Infallible;

    fn read(&mut self) -> nb::Result<u8, Infallible> {
        self.next.take().ok_or(nb::Error::WouldBlock)
    }
}

impl<T: Terminal> Write<u8> for Port<T> {
    type Error = Infallible;

    fn write(&mut self, byte: u8) -> nb::Result<(), Infallible> {
        if byte == control::BELL {
            self.has_beeped = true;
        } else if !self.is_mute {
            self.put(&[byte]);
        }
        Ok(())
    }

    fn flush(&mut self) -> nb::Result<(), Infallible> {
        Ok(())
    }
}

/// The completer that the library asks.
struct Completer {
    vocabulary: Vocabulary,
    /// Whether the editor only reads the line.
    is_probing: Cell<bool>,
    seen: RefCell<Line>,
}

impl Autocomplete<MAX_LINE> for Completer {
    fn suggest(&self, prefix: &str) -> Option<Line> {
        if self.is_probing.get() {
            let mut seen = self.seen.borrow_mut();
            seen.clear();
            // A line fits.
            let _ = seen.push_str(prefix);
            return None;
        }
        let mut rest = Line::new();
        match complete(prefix, &self.vocabulary) {
            Completion::One(end) => write!(rest, "{end} ").ok()?,
            Completion::Several(end) if !end.is_empty() => rest.push_str(end).ok()?,
            Completion::Nothing | Completion::Several(_) => return None,
        }
        // The library does not check that there is room.
        Some(rest).filter(|rest| prefix.len() + rest.len() <= MAX_LINE)
    }
}

/// The history. That of the library shows a line twice when the direction changes, and cannot return to an empty line.
struct Lines {
    lines: Deque<Line, HISTORY>,
    /// How many lines before the new one the shown line is; 0 for the new one.
    index: usize,
}

impl Lines {
    fn new() -> Lines {
        Lines { lines: Deque::new(), index: 0 }
    }

    fn reset_index(&mut self) {
        self.index = 0;
    }
}

impl History<MAX_LINE> for Lines {
    fn reset(&mut self) {
        self.lines.clear();
        self.index = 0;
    }

    fn push(&mut self, command: &str) -> Result<(), ()> {
        self.index = 0;
        let line = command.trim_ascii();
        if line.is_empty() || self.lines.back().is_some_and(|last| last == line) {
            return Ok(());
        }
        if self.lines.is_full() {
            self.lines.pop_front();
        }
        self.lines.push_back(line.try_into()?).map_err(|_| ())
    }

    fn go_back(&mut self) -> Option<Line> {
        let line = self.lines.iter().rev().nth(self.index)?.clone();
        self.index += 1;
        Some(line)
    }

    fn go_forward(&mut self) -> Option<Line> {
        self.index = self.index.checked_sub(1)?;
        match self.index {
            0 => Some(Line::new()),
            index => self.lines.iter().rev().nth(index - 1).cloned(),
        }
    }
}
