//! From bytes to keys: what a terminal sends for each, and nothing else. Whatever is no key is counted and left out, so
//! that the line editor behind sees ASCII and whole sequences alone.

/// A key of a terminal, or what stands for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A printable ASCII character.
    Text(u8),
    /// The line is done.
    Enter,
    /// The word is to be completed.
    Tab,
    /// Takes the character before the cursor away.
    Backspace,
    /// Takes the character under the cursor away; Ctrl-D where there is one.
    Delete,
    /// One back.
    Left,
    /// One on.
    Right,
    /// To the line's beginning.
    Home,
    /// To its end.
    End,
    /// The line before, in the history.
    Up,
    /// The line after.
    Down,
    /// Ctrl-C: the line is dropped.
    Interrupt,
    /// Ctrl-D: the end of input, on an empty line.
    EndOfInput,
    /// Ctrl-U: what stands before the cursor is taken away.
    EraseBefore,
    /// Ctrl-L: the line is drawn again.
    Redraw,
}

/// No sequence of a terminal has more parameter bytes; what has is noise.
const MAX_PARAMETERS: u8 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ground,
    /// Behind ESC.
    Escape,
    /// Behind ESC O, as keypads send it.
    Shifted,
    /// Behind ESC `[`: the first parameter byte, and how many there were (ECMA-48, 5.4).
    Sequence {
        first: u8,
        count: u8,
    },
}

/// Tells keys from bytes.
#[derive(Debug)]
pub struct Keys {
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
    /// Nothing was seen yet.
    pub const fn new() -> Keys {
        Keys { state: State::Ground, after_return: false, noise: 0 }
    }

    /// How many bytes were no key, nor part of one, since this was last asked.
    pub fn take_noise(&mut self) -> u64 {
        core::mem::take(&mut self.noise)
    }

    /// The key that ends with this byte, if one does.
    pub fn push(&mut self, byte: u8) -> Option<Key> {
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        // A control character is obeyed also in the middle of a sequence, which it ends: a sequence that was cut off
        // takes no line with it.
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

    /// What a sequence ends in, and its first parameter byte or 0. `~` is the VT220's, whose first parameter names the key.
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
