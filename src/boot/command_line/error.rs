//! Errors of a command line. Each message names the parameter, the value and the allowed values.

use core::fmt::{self, Write as _};

use super::parameter::{MAX_SETS, Parameter, ParameterList};
use super::registered::registered;
use super::value_error::ValueError;
use crate::console::truncated::{MAX_TEXT_BYTES, TruncatedText};
use crate::registry::by_name;
use crate::wire::MAX_JSON_BYTES;

/// The longest message. It has to fit into a record; `octopod::options` tests that each does.
pub const MAX_MESSAGE_BYTES: usize = MAX_JSON_BYTES - 64;

/// The most bytes of the allowed values in a message: what the name, the value, which is quoted twice, and the error leave.
/// `docs/parameters.md` has all values.
const MAX_ALLOWED_BYTES: usize = MAX_MESSAGE_BYTES - 2 * MAX_TEXT_BYTES - 160;

/// Writes what there is room for, and an ellipsis in place of the rest.
struct UpTo<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    room: usize,
}

impl fmt::Write for UpTo<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() <= self.room {
            self.room -= text.len();
            return self.f.write_str(text);
        }
        let is_first = core::mem::take(&mut self.room) > 0;
        if is_first { self.f.write_str("...") } else { Ok(()) }
    }
}

/// Why a command line was refused. Borrows from the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandLineError<'a> {
    /// A byte that is neither printable ASCII nor white space.
    BadByte {
        /// Its offset in the line, in bytes.
        offset: usize,
        /// The byte.
        byte: u8,
    },
    /// A value's opening quote has no closing one.
    UnclosedQuote {
        /// The line from that word on.
        word: &'a str,
    },
    /// A quote that does not surround a whole value.
    StrayQuote {
        /// The word that contains it.
        word: &'a str,
    },
    /// No set declares a parameter of this name.
    UnknownParameter {
        /// The name.
        name: &'a str,
        /// The parameters of each set.
        known: [&'static ParameterList; MAX_SETS],
    },
    /// The parameter has no `=`.
    MissingValue {
        /// The parameter.
        parameter: &'static Parameter,
    },
    /// The parameter does not take this value.
    BadValue {
        /// The parameter.
        parameter: &'static Parameter,
        /// The value, without its quotes.
        value: &'a str,
        /// The defect.
        error: ValueError<'a>,
    },
}

impl fmt::Display for CommandLineError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            CommandLineError::BadByte { offset, byte } => {
                write!(f, "byte {byte:#04x} at offset {offset} of the command line is not printable ASCII")
            }
            CommandLineError::UnclosedQuote { word } => {
                write!(f, "{}: the quote is not closed", TruncatedText(word))
            }
            CommandLineError::StrayQuote { word } => {
                write!(f, "{}: quotes may only surround a whole value", TruncatedText(word))
            }
            CommandLineError::UnknownParameter { name, known } => {
                write!(f, "{}: unknown parameter (known: ", TruncatedText(name))?;
                let own = by_name(registered(), |parameter| parameter.name);
                for (index, parameter) in known.into_iter().copied().flatten().chain(own).enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", parameter.name)?;
                }
                f.write_str(")")
            }
            CommandLineError::MissingValue { parameter } => {
                let name = parameter.name;
                write!(f, "{name}: needs a value, as in {name}=VALUE (allowed: {parameter})")
            }
            CommandLineError::BadValue { parameter, value, error } => {
                write!(f, "{}={}: {error}", parameter.name, TruncatedText(value))?;
                match error {
                    ValueError::NotBuiltIn { .. } => Ok(()),
                    _ => {
                        f.write_str(" (allowed: ")?;
                        write!(UpTo { f: &mut *f, room: MAX_ALLOWED_BYTES }, "{parameter}")?;
                        f.write_str(")")
                    }
                }
            }
        }
    }
}

impl core::error::Error for CommandLineError<'_> {}
