//! What a line asks for.

use core::fmt;

use heapless::Vec;

use super::table::{Argument, ROWS, Row, Value, workloads};
use crate::boot::command_line::parse_u64;
use crate::config::MAX_CPUS;
use crate::cpu::CpuId;
use crate::stress::workloads::Workload;

use super::table::MAX_STRESS_MS;

/// No form has more arguments.
pub const MAX_ARGUMENTS: usize = 2;

/// A command with its arguments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Command {
    /// The list of commands, or how the one in that place of [`ROWS`] is used.
    Help(Option<usize>),
    /// Each CPU.
    Cpus,
    /// Memory.
    Memory(View),
    /// The table of interrupts.
    Interrupts,
    /// Each CPU's timers.
    Timers,
    /// A workload, or all of them.
    Stress {
        /// Which; `None` for all.
        workload: Option<&'static Workload>,
        /// How long all together; `None` leaves it to the stress.
        ms: Option<u64>,
    },
    /// A benchmark, or all of them.
    Bench(Option<&'static str>),
    /// The CPUs' records of what happens.
    Trace(Tracing),
    /// A call.
    Call(CpuId),
    /// A CPU goes.
    Offline(CpuId),
    /// A CPU comes back.
    Online(CpuId),
    /// Where a CPU is, or each.
    Backtrace(Option<CpuId>),
    /// A panic.
    Panic,
    /// The machine starts anew.
    Reboot,
    /// The run ends.
    PowerOff,
}

/// What of memory is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The whole in a few numbers.
    Summary,
    /// Each region of the memory map.
    Map,
    /// What is free where, in which pieces.
    Frames,
    /// The page tables behind an address.
    Tables(u64),
}

/// What is to become of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracing {
    /// Every CPU records.
    On,
    /// None does.
    Off,
    /// What was recorded last is shown.
    Dump,
}

/// Why a line is no command.
#[derive(Clone, Copy, Debug)]
pub enum UsageError<'a> {
    /// No command has this name.
    Unknown {
        /// The first word.
        name: &'a str,
    },
    /// No form of the command has such a word there.
    Wrong {
        /// The command.
        row: &'static Row,
        /// The word.
        word: &'a str,
        /// What must stand there, if it can be but one thing.
        wanted: Option<Argument>,
    },
    /// Every form has a word more.
    Missing {
        /// The command.
        row: &'static Row,
    },
    /// No form has so many words.
    TooMany {
        /// The command.
        row: &'static Row,
        /// The first word too many.
        word: &'a str,
    },
}

impl fmt::Display for UsageError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsageError::Unknown { name } => write!(f, "{name}: no such command; `help` lists them"),
            UsageError::Wrong { row, word, wanted: Some(wanted) } => {
                write!(f, "{}: \"{word}\" is not {}; usage: {row}", row.name, wanted.wanted())
            }
            UsageError::Wrong { row, word, wanted: None } => {
                write!(f, "{}: \"{word}\" is not understood; usage: {row}", row.name)
            }
            UsageError::Missing { row } => write!(f, "{}: an argument is missing; usage: {row}", row.name),
            UsageError::TooMany { row, word } => {
                write!(f, "{}: \"{word}\" is one word too many; usage: {row}", row.name)
            }
        }
    }
}

/// Names that other layers give.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary {
    /// The benchmarks'.
    pub benchmarks: &'static [&'static str],
}

/// Reads a line; `None` if there is no word in it.
pub fn parse<'a>(line: &'a str, vocabulary: &Vocabulary) -> Result<Option<Command>, UsageError<'a>> {
    let mut words = line.split_ascii_whitespace();
    let Some(name) = words.next() else { return Ok(None) };
    let row = ROWS.iter().find(|row| row.name == name).ok_or(UsageError::Unknown { name })?;
    let mut values: Vec<Value, MAX_ARGUMENTS> = Vec::new();
    let mut last = name;
    for word in words {
        let place = values.len();
        let mut wanted = Wanted::Nothing;
        let open =
            row.forms.iter().filter(|form| begins_with(form, &values)).filter_map(|form| form.get(place));
        let Some(value) =
            open.inspect(|argument| wanted.add(**argument)).find_map(|it| it.read(word, vocabulary))
        else {
            return Err(match wanted {
                Wanted::Nothing => UsageError::TooMany { row, word },
                Wanted::One(argument) => UsageError::Wrong { row, word, wanted: Some(argument) },
                Wanted::Several => UsageError::Wrong { row, word, wanted: None },
            });
        };
        // The forms are no longer, so it fits.
        let _ = values.push(value);
        last = word;
    }
    let is_whole = row.forms.iter().any(|form| form.len() == values.len() && begins_with(form, &values));
    if !is_whole {
        return Err(UsageError::Missing { row });
    }
    (row.make)(&values).map(Some).ok_or(UsageError::Wrong { row, word: last, wanted: None })
}

/// What the forms have in one place.
enum Wanted {
    Nothing,
    One(Argument),
    Several,
}

impl Wanted {
    fn add(&mut self, argument: Argument) {
        *self = match self {
            Wanted::Nothing => Wanted::One(argument),
            Wanted::One(other) if *other == argument => Wanted::One(argument),
            _ => Wanted::Several,
        };
    }
}

/// Whether the form begins with these arguments.
pub fn begins_with(form: &[Argument], values: &[Value]) -> bool {
    form.len() >= values.len() && form.iter().zip(values).all(|(argument, value)| argument.has_given(value))
}

impl Argument {
    /// The word as such an argument.
    pub fn read(self, word: &str, vocabulary: &Vocabulary) -> Option<Value> {
        match self {
            Argument::Word(own) => (own == word).then_some(Value::Word(own)),
            Argument::Command => ROWS.iter().position(|row| row.name == word).map(Value::Command),
            Argument::Cpu => {
                let number = word.parse().ok().filter(|number| *number < MAX_CPUS && is_digits(word))?;
                Some(Value::Cpu(CpuId(number)))
            }
            Argument::Address => parse_u64(word).ok().map(Value::Address),
            Argument::Milliseconds => {
                let ms =
                    word.parse().ok().filter(|ms| (1..=MAX_STRESS_MS).contains(ms) && is_digits(word))?;
                Some(Value::Milliseconds(ms))
            }
            Argument::Workload => workloads().find(|workload| workload.name == word).map(Value::Workload),
            Argument::Benchmark => {
                vocabulary.benchmarks.iter().find(|name| **name == word).map(|name| Value::Benchmark(name))
            }
        }
    }

    fn has_given(self, value: &Value) -> bool {
        match (self, value) {
            (Argument::Word(own), Value::Word(word)) => own == *word,
            (Argument::Command, Value::Command(_))
            | (Argument::Cpu, Value::Cpu(_))
            | (Argument::Address, Value::Address(_))
            | (Argument::Milliseconds, Value::Milliseconds(_))
            | (Argument::Workload, Value::Workload(_))
            | (Argument::Benchmark, Value::Benchmark(_)) => true,
            _ => false,
        }
    }
}

/// The library's parser takes a sign, which has no meaning here.
fn is_digits(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit())
}
