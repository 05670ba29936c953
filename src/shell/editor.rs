//! The line editor: `ushell`, with keys before it and a terminal behind it.
//!
//! The library edits, keeps the cursor, and asks for history and completion. Of the keys that it does not know each is a
//! few of those that it does (to the end is: to the right until it beeps). It shows its line to nobody but its completer,
//! so [`Editor::look`] asks for a completion and remembers what it was asked for.

use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::fmt::Write as _;

use heapless::{Deque, String, Vec};
use ushell::autocomplete::Autocomplete;
use ushell::history::History;
use ushell::{Input, Read, UShell, Write, control};

use super::command::Vocabulary;
use super::complete::{Completion, complete, each_candidate};
use super::keys::Key;

/// The longest line, in characters. What is longer is not run.
pub const MAX_LINE: usize = 120;

/// Lines that are remembered.
pub const HISTORY: usize = 8;

/// What is gathered before it is written.
const OUT_BYTES: usize = 256;

/// What stands before each line.
pub const PROMPT: &str = "octopod> ";

/// A line.
pub type Line = String<MAX_LINE>;

const UP: &[u8] = b"\x1b[A";
const DOWN: &[u8] = b"\x1b[B";
const RIGHT: &[u8] = b"\x1b[C";
const LEFT: &[u8] = b"\x1b[D";

/// A terminal that is written to.
pub trait Terminal {
    /// Shows the bytes.
    fn show(&mut self, bytes: &[u8]);
}

/// What a key led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The line is done, without the blanks at its end. It is gone from the editor.
    Line(Line),
    /// The line is done, and had more characters than fit.
    TooLong,
    /// The line was dropped.
    Dropped,
    /// There is no more input.
    End,
}

/// The editor.
pub struct Editor<T: Terminal> {
    shell: UShell<Port<T>, Completer, Lines, MAX_LINE>,
    /// Whether characters of this line were refused.
    is_cut: bool,
}

impl<T: Terminal> Editor<T> {
    /// An empty line.
    pub fn new(terminal: T, vocabulary: Vocabulary) -> Editor<T> {
        let port = Port { next: None, out: Vec::new(), terminal, is_mute: false, has_beeped: false };
        let completer =
            Completer { vocabulary, is_looking: Cell::new(false), seen: RefCell::new(String::new()) };
        Editor { shell: UShell::new(port, completer, Lines::new()), is_cut: false }
    }

    /// The terminal.
    #[cfg(test)]
    pub fn terminal(&mut self) -> &mut T {
        &mut self.port().terminal
    }

    /// Begins a line, or draws it again where something else was written.
    pub fn draw(&mut self) {
        let (line, cursor) = self.look();
        let back = line.len() - cursor;
        let port = self.port();
        port.put(b"\r\x1b[K");
        port.put(PROMPT.as_bytes());
        port.put(line.as_bytes());
        (0..back).for_each(|_| port.put(LEFT));
        port.flush();
    }

    /// Takes a key.
    pub fn press(&mut self, key: Key) -> Option<Event> {
        let event = self.take(key);
        self.port().flush();
        event
    }

    fn take(&mut self, key: Key) -> Option<Event> {
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
            // The history takes the place of a line only from its end.
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
            Key::EndOfInput if self.look().0.is_empty() && !self.is_cut => return Some(Event::End),
            Key::EndOfInput => self.delete(),
            Key::Redraw => self.draw(),
        }
        None
    }

    fn text(&mut self, byte: u8) {
        // In the middle of a full line the library would write over what stands there.
        let (line, cursor) = self.look();
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

    fn enter(&mut self) -> Event {
        let is_cut = core::mem::take(&mut self.is_cut);
        if is_cut {
            self.shell.reset();
            self.port().put(b"\r\n");
            return Event::TooLong;
        }
        self.port().next = Some(control::CR);
        let mut line = Line::new();
        if let Ok(Some(Input::Command((name, arguments)))) = self.shell.poll() {
            // It fits: it is the line, parted at its first space.
            let _ = line.push_str(name);
            if !arguments.is_empty() {
                let _ = write!(line, " {arguments}");
            }
            line.truncate(line.trim_ascii_end().len());
        }
        self.port().put(b"\r\n");
        Event::Line(line)
    }

    fn drop_line(&mut self) -> Event {
        self.shell.reset();
        self.shell.get_history_mut().forget_place();
        self.is_cut = false;
        self.port().put(b"^C\r\n");
        Event::Dropped
    }

    fn delete(&mut self) {
        if self.feed(RIGHT) {
            self.feed(&[control::BS]);
        }
    }

    fn tab(&mut self) {
        let (line, cursor) = self.look();
        if cursor < line.len() {
            // The library would cut off what stands behind the cursor.
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

    /// The line, and where in it the cursor stands.
    pub fn look(&mut self) -> (Line, usize) {
        let was_mute = core::mem::replace(&mut self.port().is_mute, true);
        let behind = self.repeat(RIGHT);
        self.shell.get_autocomplete_mut().is_looking.set(true);
        self.feed(&[control::TAB]);
        let completer = self.shell.get_autocomplete_mut();
        completer.is_looking.set(false);
        let line = completer.seen.get_mut().clone();
        for _ in 0..behind {
            self.feed(LEFT);
        }
        self.port().is_mute = was_mute;
        let cursor = line.len() - behind;
        (line, cursor)
    }

    /// Gives the library a key until it beeps, which it does when there is nothing left to do; how often it did not.
    fn repeat(&mut self, key: &[u8]) -> usize {
        (0..MAX_LINE).take_while(|_| self.feed(key)).count()
    }

    fn until_beep(&mut self, key: &[u8]) {
        self.repeat(key);
    }

    fn once(&mut self, key: &[u8]) {
        self.feed(key);
    }

    /// Gives the library a key; whether it took it without a beep.
    fn feed(&mut self, key: &[u8]) -> bool {
        self.port().has_beeped = false;
        for &byte in key {
            self.port().next = Some(byte);
            // Nothing of it fails: the port does not, lines are ASCII, and the history takes all. What it makes of
            // other control characters, `Keys` has said before.
            let _ = self.shell.poll();
        }
        !self.port().has_beeped
    }

    fn port(&mut self) -> &mut Port<T> {
        self.shell.get_serial_mut()
    }
}

/// What the library takes for a serial port.
struct Port<T> {
    next: Option<u8>,
    out: Vec<u8, OUT_BYTES>,
    terminal: T,
    is_mute: bool,
    /// Whether the library found that there was nothing to do.
    has_beeped: bool,
}

impl<T: Terminal> Port<T> {
    fn put(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.out.is_full() {
                self.flush();
            }
            // There is room now.
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

/// What the library asks how a line could go on.
struct Completer {
    vocabulary: Vocabulary,
    /// Whether only the line is of interest.
    is_looking: Cell<bool>,
    seen: RefCell<Line>,
}

impl Autocomplete<MAX_LINE> for Completer {
    fn suggest(&self, prefix: &str) -> Option<Line> {
        if self.is_looking.get() {
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
        // The library does not look whether there is room.
        Some(rest).filter(|rest| prefix.len() + rest.len() <= MAX_LINE)
    }
}

/// The lines before. The library's own history shows a line twice where one turns back, and has no way to an empty line.
struct Lines {
    lines: Deque<Line, HISTORY>,
    /// How many lines back the one that is shown is; 0 for a new one.
    place: usize,
}

impl Lines {
    fn new() -> Lines {
        Lines { lines: Deque::new(), place: 0 }
    }

    fn forget_place(&mut self) {
        self.place = 0;
    }
}

impl History<MAX_LINE> for Lines {
    fn reset(&mut self) {
        self.lines.clear();
        self.place = 0;
    }

    fn push(&mut self, command: &str) -> Result<(), ()> {
        self.place = 0;
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
        let line = self.lines.iter().rev().nth(self.place)?.clone();
        self.place += 1;
        Some(line)
    }

    fn go_forward(&mut self) -> Option<Line> {
        self.place = self.place.checked_sub(1)?;
        match self.place {
            0 => Some(Line::new()),
            place => self.lines.iter().rev().nth(place - 1).cloned(),
        }
    }
}
