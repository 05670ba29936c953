//! Decodes the bytes of a terminal into keys. Other bytes are counted and dropped, so that the line editor gets ASCII and whole
//! sequences only.

/// A key of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A printable ASCII character.
    Text(u8),
    /// Ends the line.
    Enter,
    /// Completes the word.
    Tab,
    /// Deletes the character before the cursor.
    Backspace,
    /// Deletes the character under the cursor; also Ctrl-D, if there is one.
    Delete,
    /// Moves the cursor one to the left.
    Left,
    /// Moves the cursor one to the right.
    Right,
    /// Moves the cursor to the beginning of the line.
    Home,
    /// Moves the cursor to its end.
    End,
    /// Shows the previous line of the history.
    Up,
    /// Shows the next line of the history.
    Down,
    /// Ctrl-C: discards the line.
    Interrupt,
    /// Ctrl-D on an empty line: the end of input.
    EndOfInput,
    /// Ctrl-U: deletes the characters before the cursor.
    EraseBefore,
    /// Ctrl-L: redraws the line.
    Redraw,
}

/// The most parameter bytes of a sequence; more are noise.
const MAX_PARAMETERS: u8 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ground,
    /// After ESC.
    Escape,
    /// After ESC O, which keypads send.
    Shifted,
    /// After ESC `[`: the first parameter byte, and the number of them (ECMA-48, 5.4).
    Sequence {
        first: u8,
        count: u8,
    },
}

/// The decoder.
#[derive(Debug)]
pub(crate) struct Keys {
    state: State,
    after_return: bool,
    noise: u64,
}

impl Default for Keys {
    fn default() -> Self {
        Keys::new()
    }
}

impl Keys {
    /// A decoder that has seen no byte.
    pub(crate) const fn new() -> Keys {
        Keys { state: State::Ground, after_return: false, noise: 0 }
    }

    /// Returns the number of bytes that were no key, nor part of one, since the last call.
    pub(crate) fn take_noise(&mut self) -> u64 {
        core::mem::take(&mut self.noise)
    }

    /// Decodes a byte. Returns the key that ends with it, if any.
    pub(crate) fn push(&mut self, byte: u8) -> Option<Key> {
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        // A control character takes effect also in the middle of a sequence, and ends it. So a truncated sequence does not
        // consume the next Enter.
        if byte < 0x20 || byte == 0x7f {
            if self.state != State::Ground {
                self.noise += 1;
            }
            self.state = if byte == 0x1b { State::Escape } else { State::Ground };
            return self.control(byte, after_return);
        }
        match (self.state, byte) {
            (State::Ground, b' '..=b'~') => Some(Key::Text(byte)),
            (State::Escape, b'[') => self.go_on(State::Sequence { first: 0, count: 0 }),
            (State::Escape, b'O') => self.go_on(State::Shifted),
            (State::Shifted, b'A'..=b'H') => self.end(Self::of_final(byte, 0)),
            (State::Sequence { first, count }, b' '..=b'?') if count < MAX_PARAMETERS => {
                let first = if count == 0 { byte } else { first };
                self.go_on(State::Sequence { first, count: count + 1 })
            }
            (State::Sequence { first, .. }, b'@'..=b'~') => self.end(Self::of_final(byte, first)),
            _ => self.end(None),
        }
    }

    fn go_on(&mut self, state: State) -> Option<Key> {
        self.state = state;
        None
    }

    fn end(&mut self, key: Option<Key>) -> Option<Key> {
        self.state = State::Ground;
        self.noise += u64::from(key.is_none());
        key
    }

    fn control(&mut self, byte: u8, after_return: bool) -> Option<Key> {
        match byte {
            b'\r' => Some(Key::Enter),
            b'\n' if after_return => None,
            b'\n' => Some(Key::Enter),
            b'\t' => Some(Key::Tab),
            0x08 | 0x7f => Some(Key::Backspace),
            0x01 => Some(Key::Home),
            0x02 => Some(Key::Left),
            0x03 => Some(Key::Interrupt),
            0x04 => Some(Key::EndOfInput),
            0x05 => Some(Key::End),
            0x06 => Some(Key::Right),
            0x0c => Some(Key::Redraw),
            0x0e => Some(Key::Down),
            0x10 => Some(Key::Up),
            0x15 => Some(Key::EraseBefore),
            0x1b => None,
            _ => self.end(None),
        }
    }

    /// The key of a sequence with this final byte and this first parameter byte, or 0. For `~` (VT220) the parameter names the
    /// key.
    fn of_final(byte: u8, first: u8) -> Option<Key> {
        match (byte, first) {
            (b'A', _) => Some(Key::Up),
            (b'B', _) => Some(Key::Down),
            (b'C', _) => Some(Key::Right),
            (b'D', _) => Some(Key::Left),
            (b'H', _) | (b'~', b'1' | b'7') => Some(Key::Home),
            (b'F', _) | (b'~', b'4' | b'8') => Some(Key::End),
            (b'~', b'3') => Some(Key::Delete),
            _ => None,
        }
    }
}
