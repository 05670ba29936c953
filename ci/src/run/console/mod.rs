//! The kernel's console at the terminal, or on a pipe: `cargo run -- shell`.
//!
//! Until the kernel first prompts for a line, the run looks like any other. From then on the terminal belongs to the kernel:
//! keys are sent to it as they are typed, Ctrl-C included, and its output is shown as it arrives, without the records
//! ([`RecordFilter`]). A pipe sends one line for each prompt ([`Input`]), so that no line is lost. The end of the pipe is
//! Ctrl-D, by which the kernel ends the run.

mod filter;
mod input;
mod names;
mod raw;

pub use filter::{Piece, RecordFilter};
pub use input::Input;
pub use names::Names;

use std::io::{self, IsTerminal};
use std::process::ChildStdin;

use crate::base::values::Line;

use raw::RawMode;

/// The source of the input of the kernel's console.
#[derive(Clone, Debug, Default)]
pub struct ConsoleConfig {
    /// These lines; if there are none, standard input.
    pub typed: Vec<Line>,
}

impl ConsoleConfig {
    /// Returns whether a user types at a terminal.
    pub fn is_interactive(&self) -> bool {
        self.typed.is_empty() && io::stdin().is_terminal()
    }
}

/// The user's side of the console.
pub struct Attached {
    input: Input,
    is_interactive: bool,
    raw: Option<RawMode>,
    in_session: bool,
    /// Of the kernel that runs.
    pub names: Names,
}

impl Attached {
    /// From now on what is typed, or comes by the pipe, goes to the machine.
    pub fn new(config: &ConsoleConfig, machine: ChildStdin, names: Names) -> Attached {
        let lines = config.typed.iter().map(|line| format!("{line}\n")).collect();
        let typed = if config.typed.is_empty() { None } else { Some(lines) };
        let is_interactive = config.is_interactive();
        Attached { input: Input::start(typed, machine), is_interactive, raw: None, in_session: false, names }
    }

    /// Returns whether the kernel has asked for a line yet.
    pub fn in_session(&self) -> bool {
        self.in_session
    }

    /// Returns whether what the kernel writes is to be shown as it comes. To a pipe whole lines go, without what a terminal
    /// obeys.
    pub fn shows_keys(&self) -> bool {
        self.in_session && self.is_interactive
    }

    /// Returns whether the next prompt changes the terminal's mode.
    pub fn is_to_enter_raw_mode(&self) -> bool {
        !self.in_session && self.is_interactive
    }

    /// The kernel asks for a line.
    pub fn prompted(&mut self) {
        if !self.in_session {
            self.in_session = true;
            // Where it cannot be, lines are typed as the terminal's own driver lets them.
            self.raw = if self.is_interactive { RawMode::enter() } else { None };
        }
        self.input.prompted();
    }
}
