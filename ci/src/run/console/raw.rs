//! The terminal in raw mode, without its own line editing, while the value exists.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};

use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

use crate::base::interrupt;

/// The terminal's own settings while they are replaced.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Keys come one by one, unseen and unchanged, until this is dropped: at the run's end, also where a panic ends it.
pub(crate) struct RawMode {
    _private: (),
}

impl RawMode {
    /// `None` where standard input is no terminal.
    pub(crate) fn enter() -> Option<RawMode> {
        if !io::stdin().is_terminal() {
            return None;
        }
        let before = tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        raw.input_modes -= InputModes::ICRNL | InputModes::INLCR | InputModes::IXON | InputModes::ISTRIP;
        // The kernel ends its lines as terminals want them.
        raw.output_modes -= OutputModes::OPOST;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        interrupt::before_ending_at_once(leave_raw_mode);
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(RawMode { _private: () })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        leave_raw_mode();
    }
}

/// Gives the terminal its own settings back, if they are replaced.
fn leave_raw_mode() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}
