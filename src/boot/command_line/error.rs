//! What can be wrong with a command line, said so that the person who typed it can put it right.

use core::fmt;

use super::{
    Allocator, ClockChoice, FAULT_STAGES, Fault, Key, MAX_CPU_COUNTS, MAX_RESERVED, Part, Switch, TraceLevel,
    Work, Workload,
};
use crate::config::MAX_CPUS;
use crate::console::cut::{Cut, MAX_CUT_BYTES};
use crate::console::filter::FilterError;
use crate::wire::MAX_JSON_BYTES;

/// Why a command line was refused. Borrows from the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionError<'a> {
    /// A byte that is neither printable ASCII nor white space.
    BadByte {
        /// Where in the line, from 0.
        offset: usize,
        /// The byte.
        byte: u8,
    },
    /// A value's opening quote has no closing one.
    UnclosedQuote {
        /// The line from that word on.
        word: &'a str,
    },
    /// A quote where none may be: they go around a whole value.
    StrayQuote {
        /// The word it stands in.
        word: &'a str,
    },
    /// No option has this name.
    UnknownOption {
        /// The name.
        key: &'a str,
    },
    /// The option stands there without `=`.
    MissingValue {
        /// The option.
        key: Key,
    },
    /// The option does not take this value.
    BadValue {
        /// The option.
        key: Key,
        /// The value, without its quotes.
        value: &'a str,
        /// What is wrong with it.
        fault: ValueFault<'a>,
    },
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueFault<'a> {
    /// There is nothing after the `=`.
    Empty,
    /// Not digits with, perhaps, a point and more digits.
    NotSeconds,
    /// More than three decimals.
    TooFine,
    /// Neither decimal nor hexadecimal.
    NotANumber,
    /// Not two numbers with a dash between them, the second one greater.
    NotARange,
    /// There are as many ranges already as there may be.
    TooManyRanges,
    /// Not the hexadecimal digits of a number above 0.
    NotANonce,
    /// A number, but too small or too great.
    OutOfRange,
    /// The value, or this part of the list, is none of the names.
    UnknownName(&'a str),
    /// The list holds this name twice.
    GivenTwice(&'a str),
    /// Not ascending numbers above 0, or too many.
    NotAscending,
    /// Not a filter of log lines.
    Filter(FilterError<'a>),
    /// The kernel was built without the feature that the option needs.
    NotBuiltIn {
        /// What it lacks.
        what: &'static str,
        /// The cargo feature that has it.
        feature: &'static str,
    },
}

impl fmt::Display for OptionError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            OptionError::BadByte { offset, byte } => {
                write!(f, "byte {byte:#04x} at offset {offset} of the command line is not printable ASCII")
            }
            OptionError::UnclosedQuote { word } => write!(f, "{}: the quote is not closed", Cut(word)),
            OptionError::StrayQuote { word } => {
                write!(f, "{}: quotes may only surround a whole value", Cut(word))
            }
            OptionError::UnknownOption { key } => {
                write!(f, "{}: unknown option (known: {})", Cut(key), Names(Key::ALL))
            }
            OptionError::MissingValue { key } => {
                write!(f, "{key}: needs a value, as in {key}=VALUE (allowed: {})", Allowed(key))
            }
            OptionError::BadValue { key, value, fault } => {
                write!(f, "{key}={}: {fault}", Cut(value))?;
                match fault {
                    ValueFault::NotBuiltIn { .. } => Ok(()),
                    _ => write!(f, " (allowed: {})", Allowed(key)),
                }
            }
        }
    }
}

impl core::error::Error for OptionError<'_> {}

impl fmt::Display for ValueFault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ValueFault::Empty => f.write_str("no value"),
            ValueFault::NotSeconds => f.write_str("not a number of seconds"),
            ValueFault::TooFine => f.write_str("more than three decimals"),
            ValueFault::NotANumber => f.write_str("not a number"),
            ValueFault::NotARange => f.write_str("not a range"),
            ValueFault::TooManyRanges => write!(f, "more than {MAX_RESERVED} ranges"),
            ValueFault::NotANonce => f.write_str("not a nonce"),
            ValueFault::OutOfRange => f.write_str("out of range"),
            ValueFault::UnknownName(name) => write!(f, "\"{}\" is not known", Cut(name)),
            ValueFault::GivenTwice(name) => write!(f, "\"{}\" is given twice", Cut(name)),
            ValueFault::NotAscending => f.write_str("not a list of ascending numbers above 0"),
            ValueFault::Filter(error) => error.fmt(f),
            ValueFault::NotBuiltIn { what, feature } => {
                write!(f, "this kernel was built without {what} (build it with the feature `{feature}`)")
            }
        }
    }
}

/// What an option takes.
struct Allowed(Key);

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Key::Work => Names(Work::ALL).fmt(f),
            Key::StressSeconds => f.write_str("0.001 to 86400"),
            Key::StressWorkloads => write!(f, "a list of {}", Names(Workload::ALL)),
            Key::StressAllocators => write!(f, "a list of {}", Names(Allocator::ALL)),
            Key::StressCpus => write!(f, "a list of at most {MAX_CPU_COUNTS} ascending numbers of CPUs"),
            Key::SelfTestParts => write!(f, "a list of {}", Names(Part::ALL)),
            Key::StressSeed | Key::AcpiRsdp => {
                f.write_str("0 to 18446744073709551615, or 0x0 to 0xffffffffffffffff")
            }
            Key::MaxCpus => write!(f, "1 to {MAX_CPUS}"),
            Key::Reserve => f.write_str("START-END, as in 0x8000-0x9000"),
            Key::FaultStage => Names(FAULT_STAGES).fmt(f),
            Key::Log => f.write_str(
                "a list of LEVEL and TARGET=LEVEL, as in smp=debug,info; levels off, error, warn, info, debug, trace",
            ),
            Key::Clock => Names(ClockChoice::ALL).fmt(f),
            Key::Trace => Names(TraceLevel::ALL).fmt(f),
            Key::Kaslr | Key::X2Apic | Key::AllowMissingCpus => Names(Switch::ALL).fmt(f),
            Key::RecordNonce => f.write_str("16 hexadecimal digits, not all 0"),
            Key::SelfTestRounds => f.write_str("1 to 1000000000"),
            Key::Fault => Names(Fault::ALL).fmt(f),
        }
    }
}

/// Names, parted by commas.
struct Names<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Names<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}")?;
        }
        Ok(())
    }
}

/// No message is longer: it quotes at most two cut texts, and lists all names of one kind. Faults have the most.
pub const MAX_MESSAGE_BYTES: usize = {
    let (mut bytes, mut index) = (3 * MAX_CUT_BYTES, 0);
    while index < Fault::ALL.len() {
        bytes += Fault::ALL[index].name().len() + ", ".len();
        index += 1;
    }
    bytes
};

const _: () = assert!(MAX_MESSAGE_BYTES + 64 <= MAX_JSON_BYTES, "the launcher is told as well");
