//! From the prompt to the command and back, until the run is to end.

use core::fmt;

use spin::Mutex;

use super::command::{Command, Vocabulary, parse};
use super::editor::{Editor, Event, Line, MAX_LINE, Terminal};
use super::keys::{Key, Keys};
use super::table::ROWS;
use super::{answer, cpus, irq, memory, places, timers, tracing, work};
use crate::apic::serial_input;
use crate::bench;
use crate::boot::BootInfo;
use crate::console::{self, ReceiveErrors};
use crate::cpu::IrqGuard;
use crate::stress::StressError;
use crate::stress::parameters::StressParameters;
use crate::wire::Record;

/// How a session ends, if nothing was found wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The run is over.
    PowerOff,
    /// The machine is to start anew.
    Reboot,
}

/// What is wrong after a session.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// There is nothing to read from.
    NoInput,
    /// A stress has found this.
    Stress(StressError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NoInput => f.write_str("the console has no serial port to read from"),
            Failure::Stress(error) => error.fmt(f),
        }
    }
}

/// What commands need to know.
pub(super) struct Session<'a> {
    pub boot: &'a BootInfo,
    pub parameters: &'a StressParameters,
    /// Ends the run where a CPU is stuck in a stress.
    pub give_up: fn(StressError) -> !,
    /// What the first stress that failed has found. What it left behind is not fit for another.
    pub found: Option<StressError>,
}

/// The serial line as the editor's terminal.
struct Serial;

impl Terminal for Serial {
    fn show(&mut self, bytes: &[u8]) {
        console::prompt(bytes, true);
    }
}

/// Too large for a stack that the stress needs too.
static EDITOR: Mutex<Option<Editor<Serial>>> = Mutex::new(None);

/// Reads commands and runs them, until one of them, or the end of input, ends the session. Only the boot processor calls
/// this, once, with interrupts on, when all CPUs wait for work. `give_up` is called when a CPU has got stuck in a stress,
/// and must not return.
///
/// # Errors
/// See [`Failure`].
#[inline(never)]
pub fn run(
    boot: &BootInfo,
    parameters: &StressParameters,
    give_up: fn(StressError) -> !,
) -> Result<End, Failure> {
    if !serial_input::is_open() {
        return Err(Failure::NoInput);
    }
    let mut editor = EDITOR.lock();
    let editor = editor.insert(Editor::new(Serial, Vocabulary { benchmarks: bench::NAMES }));
    let mut reader = Reader { keys: Keys::new(), lost: console::receive_errors(), is_broken: false };
    let mut session = Session { boot, parameters, give_up, found: None };
    console::print(format_args!("`help` lists the commands; Ctrl-D ends the run"));
    loop {
        let end = match reader.line(editor) {
            Some(line) => session.answer(&line),
            None => Some(End::PowerOff),
        };
        if let Some(end) = end {
            return session.found.map_or(Ok(end), |error| Err(Failure::Stress(error)));
        }
    }
}

/// Where lines come from.
struct Reader {
    keys: Keys,
    /// What was lost until it was last told.
    lost: ReceiveErrors,
    /// Whether something was, since the last line began: until it ends, what comes is not to be run.
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
                self.forget_all(editor);
                continue;
            }
            let Some(key) = self.keys.push(byte) else { continue };
            if self.is_broken && !matches!(key, Key::Enter | Key::Interrupt) {
                continue;
            }
            let event = match (key, self.is_broken) {
                (Key::Enter, true) => Some(Event::Dropped),
                (key, _) => editor.press(key),
            };
            let Some(event) = event else { continue };
            self.is_broken = false;
            // The row of the prompt is done with.
            console::prompt(b"", false);
            let noise = self.keys.take_noise();
            if noise > 0 && event != Event::End {
                console::print(format_args!("{noise} bytes of the input were no keys, and were left out"));
            }
            match event {
                Event::Line(line) => return Some(line),
                Event::End => {
                    console::print(format_args!(""));
                    return None;
                }
                Event::TooLong => {
                    console::print(format_args!("a line of more than {MAX_LINE} characters is not run"));
                }
                Event::Dropped => {}
            }
            console::send(&Record::Prompt);
            editor.draw();
        }
    }

    /// What was lost may be missing in any line that still waits: none of them is run.
    fn forget_all(&mut self, editor: &mut Editor<Serial>) {
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
            "input came faster than it was read: {} bytes dropped, {} overruns of the port; {waiting} bytes that waited are \
             left out, and what comes up to the next Enter or Ctrl-C",
            lost.dropped - self.lost.dropped,
            lost.overruns - self.lost.overruns
        ));
        self.lost = lost;
    }
}

/// The next byte, waited for: the CPU halts meanwhile. What others write in between takes the prompt's place.
fn next_byte(editor: &mut Editor<Serial>) -> u8 {
    let mut written = console::lines().written;
    loop {
        let mut guard = IrqGuard::new();
        if let Some(byte) = console::read_byte() {
            return byte;
        }
        let now = console::lines().written;
        if now == written {
            // An interrupt that has arrived since the two checks ends the halt.
            guard.halt();
        } else {
            drop(guard);
            written = now;
            editor.draw();
        }
    }
}

impl Session<'_> {
    /// Runs a line; whether that ends the session.
    fn answer(&mut self, line: &str) -> Option<End> {
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
            Command::Offline(cpu) => cpus::offline(cpu),
            Command::Online(cpu) => cpus::online(cpu),
            Command::Backtrace(cpu) => places::show(cpu),
            Command::Panic => panic!("asked for on the console"),
            Command::Reboot => return Some(End::Reboot),
            Command::PowerOff => return Some(End::PowerOff),
        };
        if let Err(error) = done {
            let name = line.split_ascii_whitespace().next().unwrap_or_default();
            answer::refuse(name, &error);
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
                "`help COMMAND` says how one is used; Tab completes, the arrow up brings lines back"
            ));
        }
    }
}
