//! A session: reads lines and executes commands until the run ends.

use core::fmt;

use spin::Mutex;

use super::command::Command;
use super::editor::{Editor, EditorEvent, Line, MAX_LINE, Terminal};
use super::keys::{Key, Keys};
use super::parse::{Vocabulary, parse};
use super::state::Session;
use super::table::ROWS;
use super::top::Top;
use super::{backtrace, cpus, error, irq, memory, threads, timers, tracing, work};
use crate::apic::serial_input;
use crate::bench;
use crate::boot::BootInfo;
use crate::console::{self, ReceiveErrors};
use crate::cpu::IrqGuard;
use crate::stress::StressError;
use crate::stress::parameters::StressParameters;
use crate::wire::Record;

/// How a session without a failure ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The run ends.
    PowerOff,
    /// The machine is reset.
    Reboot,
}

/// Why a session failed.
#[derive(Clone, Copy, Debug)]
pub enum SessionError {
    /// There is no serial input.
    NoInput,
    /// A stress failed.
    Stress(StressError),
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionError::NoInput => f.write_str("the shell has no serial input"),
            SessionError::Stress(error) => error.fmt(f),
        }
    }
}

/// The serial line as the editor's terminal.
struct Serial;

impl Terminal for Serial {
    fn show(&mut self, bytes: &[u8]) {
        console::prompt(bytes, true);
    }
}

/// In a static: it is too large for the stack, which the stress uses too.
static EDITOR: Mutex<Option<Editor<Serial>>> = Mutex::new(None);

/// Reads commands and executes them, until a command or the end of input ends the session. `give_up` is called when a CPU is
/// stuck in a stress, and must not return.
///
/// **Context:** the thread of the BSP, interrupts on, once, while all APs wait for work.
///
/// # Errors
/// See [`SessionError`].
#[inline(never)]
pub(crate) fn run(
    boot: &BootInfo,
    parameters: &StressParameters,
    give_up: fn(StressError) -> !,
) -> Result<End, SessionError> {
    if !serial_input::is_open() {
        return Err(SessionError::NoInput);
    }
    let mut editor = EDITOR.lock();
    let editor = editor.insert(Editor::new(Serial, Vocabulary { benchmarks: bench::NAMES }));
    let mut reader = Reader { keys: Keys::new(), lost: console::receive_errors(), is_broken: false };
    let mut session = Session { boot, parameters, give_up, found: None, top: Top::new() };
    console::print(format_args!("`help` lists the commands; Ctrl-D ends the run"));
    loop {
        let end = match reader.line(editor) {
            Some(line) => session.execute(&line),
            None => Some(End::PowerOff),
        };
        if let Some(end) = end {
            return session.found.map_or(Ok(end), |error| Err(SessionError::Stress(error)));
        }
    }
}

/// The source of lines.
struct Reader {
    keys: Keys,
    /// The lost bytes that were reported.
    lost: ReceiveErrors,
    /// Whether bytes of the current line were lost: it is not executed.
    is_broken: bool,
}

impl Reader {
    /// The next line; `None` at the end of input.
    fn line(&mut self, editor: &mut Editor<Serial>) -> Option<Line> {
        console::send(&Record::Prompt);
        editor.draw();
        loop {
            let byte = next_byte(editor);
            if console::receive_errors() != self.lost {
                self.discard_input(editor);
                continue;
            }
            let Some(key) = self.keys.push(byte) else { continue };
            if self.is_broken && !matches!(key, Key::Enter | Key::Interrupt) {
                continue;
            }
            let event = match (key, self.is_broken) {
                (Key::Enter, true) => Some(EditorEvent::Dropped),
                (key, _) => editor.press(key),
            };
            let Some(event) = event else { continue };
            self.is_broken = false;
            // Leaves the row of the prompt.
            console::prompt(b"", false);
            let noise = self.keys.take_noise();
            if noise > 0 && event != EditorEvent::End {
                console::print(format_args!("ignored {noise} bytes of the input that are no keys"));
            }
            match event {
                EditorEvent::Line(line) => return Some(line),
                EditorEvent::End => {
                    console::print(format_args!(""));
                    return None;
                }
                EditorEvent::TooLong => {
                    console::print(format_args!("ignored a line of more than {MAX_LINE} characters"));
                }
                EditorEvent::Dropped => {}
            }
            console::send(&Record::Prompt);
            editor.draw();
        }
    }

    /// Discards all waiting input, as any line of it may lack bytes.
    fn discard_input(&mut self, editor: &mut Editor<Serial>) {
        let mut waiting = 1u64;
        while console::read_byte().is_some() {
            waiting += 1;
        }
        let lost = console::receive_errors();
        editor.press(Key::Interrupt);
        console::prompt(b"", false);
        self.keys = Keys::new();
        self.is_broken = true;
        console::print(format_args!(
            "input came faster than it was read: {} bytes dropped, {} port overruns; discarding {waiting} waiting bytes and the \
             input up to the next Enter or Ctrl-C",
            lost.dropped - self.lost.dropped,
            lost.overruns - self.lost.overruns
        ));
        self.lost = lost;
    }
}

/// Waits for the next byte; the CPU halts meanwhile. Redraws the prompt when other lines were written.
fn next_byte(editor: &mut Editor<Serial>) -> u8 {
    let mut written = console::lines().written;
    loop {
        let mut guard = IrqGuard::new();
        if let Some(byte) = console::read_byte() {
            return byte;
        }
        let now = console::lines().written;
        if now == written {
            // An interrupt since the two checks is pending, and ends the halt.
            crate::memory::halt(&mut guard);
        } else {
            drop(guard);
            written = now;
            editor.draw();
        }
    }
}

impl Session<'_> {
    /// Executes a line. Returns whether the session ends.
    fn execute(&mut self, line: &str) -> Option<End> {
        let command = match parse(line, &Vocabulary { benchmarks: bench::NAMES }) {
            Ok(command) => command?,
            Err(error) => {
                console::print(format_args!("{error}"));
                return None;
            }
        };
        let done = match command {
            Command::Help(row) => {
                help(row);
                Ok(())
            }
            Command::Cpus => {
                cpus::list();
                Ok(())
            }
            Command::Threads => {
                threads::list();
                Ok(())
            }
            Command::Thread(id) => threads::show(id),
            Command::Top => {
                self.top.show();
                Ok(())
            }
            Command::Memory(view) => memory::show(view, self.boot),
            Command::Interrupts => {
                irq::list();
                Ok(())
            }
            Command::Timers => {
                timers::list();
                Ok(())
            }
            Command::Stress { workload, ms } => work::stress(self, workload, ms),
            Command::Bench(name) => work::bench(name),
            Command::Trace(tracing) => tracing::act(tracing),
            Command::Call(cpu) => cpus::call(cpu),
            Command::Offline { cpu, breaks_affinity } => cpus::offline(cpu, breaks_affinity),
            Command::Online(cpu) => cpus::online(cpu),
            Command::Backtrace(cpu) => backtrace::show(cpu),
            Command::Panic => panic!("panic requested in the shell"),
            Command::Reboot => return Some(End::Reboot),
            Command::PowerOff => return Some(End::PowerOff),
        };
        if let Err(error) = done {
            let name = line.split_ascii_whitespace().next().unwrap_or_default();
            error::report(name, &error);
        }
        None
    }
}

fn help(row: Option<usize>) {
    match row.and_then(|row| ROWS.get(row)) {
        Some(row) => {
            console::print(format_args!("{}: {}", row.name, row.about));
            console::print(format_args!("usage: {row}"));
        }
        None => {
            for row in ROWS {
                console::print(format_args!("{:<10}{}", row.name, row.about));
            }
            console::print(format_args!(
                "`help COMMAND` shows the usage of one; Tab completes, the arrow keys recall lines"
            ));
        }
    }
}
