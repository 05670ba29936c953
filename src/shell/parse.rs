//! Parses lines into commands.

use core::fmt;

use heapless::Vec;

use super::command::Command;
use super::table::{Argument, MAX_STRESS_MS, ROWS, Row, Value, workloads};
use crate::boot::command_line::parse_u64;
use crate::config::MAX_CPUS;
use crate::cpu::CpuId;

/// The most arguments of a form.
pub(crate) const MAX_ARGUMENTS: usize = 2;

/// Why a line is not a command.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UsageError<'a> {
    /// No command has this name.
    Unknown {
        /// The first word.
        name: &'a str,
    },
    /// No form of the command has such an argument there.
    Wrong {
        /// The command.
        row: &'static Row,
        /// The word.
        word: &'a str,
        /// The expected argument, if there is only one possibility.
        wanted: Option<Argument>,
    },
    /// Every form has one more argument.
    Missing {
        /// The command.
        row: &'static Row,
    },
    /// No form has as many arguments.
    TooMany {
        /// The command.
        row: &'static Row,
        /// The first excess word.
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

/// Names that other modules define.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vocabulary {
    /// The names of the benchmarks.
    pub benchmarks: &'static [&'static str],
}

/// Parses a line; `None` if it has no word.
///
/// # Errors
/// The line is not a command.
pub(crate) fn parse<'a>(line: &'a str, vocabulary: &Vocabulary) -> Result<Option<Command>, UsageError<'a>> {
    let mut words = line.split_ascii_whitespace();
    let Some(name) = words.next() else { return Ok(None) };
    let row = ROWS.iter().find(|row| row.name == name).ok_or(UsageError::Unknown { name })?;
    let mut values: Vec<Value, MAX_ARGUMENTS> = Vec::new();
    let mut last = name;
    for word in words {
        let index = values.len();
        let mut wanted = Wanted::Nothing;
        let open =
            row.forms.iter().filter(|form| begins_with(form, &values)).filter_map(|form| form.get(index));
        let Some(value) =
            open.inspect(|argument| wanted.add(**argument)).find_map(|it| it.read(word, vocabulary))
        else {
            return Err(match wanted {
                Wanted::Nothing => UsageError::TooMany { row, word },
                Wanted::One(argument) => UsageError::Wrong { row, word, wanted: Some(argument) },
                Wanted::Several => UsageError::Wrong { row, word, wanted: None },
            });
        };
        // No form is longer, so there is room.
        let _ = values.push(value);
        last = word;
    }
    let is_whole = row.forms.iter().any(|form| form.len() == values.len() && begins_with(form, &values));
    if !is_whole {
        return Err(UsageError::Missing { row });
    }
    (row.make)(&values).map(Some).ok_or(UsageError::Wrong { row, word: last, wanted: None })
}

/// The arguments of several forms at one index.
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
pub(crate) fn begins_with(form: &[Argument], values: &[Value]) -> bool {
    form.len() >= values.len() && form.iter().zip(values).all(|(argument, value)| argument.has_given(value))
}

impl Argument {
    /// Parses a word as such an argument.
    pub(crate) fn read(self, word: &str, vocabulary: &Vocabulary) -> Option<Value> {
        match self {
            Argument::Word(own) => (own == word).then_some(Value::Word(own)),
            Argument::Command => ROWS.iter().position(|row| row.name == word).map(Value::Command),
            Argument::Cpu => {
                let number = word.parse().ok().filter(|number| *number < MAX_CPUS && is_digits(word))?;
                Some(Value::Cpu(CpuId(number)))
            }
            Argument::Thread => word.parse().ok().filter(|_| is_digits(word)).map(Value::Thread),
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
            | (Argument::Thread, Value::Thread(_))
            | (Argument::Address, Value::Address(_))
            | (Argument::Milliseconds, Value::Milliseconds(_))
            | (Argument::Workload, Value::Workload(_))
            | (Argument::Benchmark, Value::Benchmark(_)) => true,
            _ => false,
        }
    }
}

/// Whether the word has digits only: `parse` accepts a sign, which commands do not have.
fn is_digits(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit())
}
