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

/// The most bytes of the names of parameters in a message: what the unknown name and the error leave.
const MAX_KNOWN_BYTES: usize = MAX_MESSAGE_BYTES - MAX_TEXT_BYTES - 64;

/// Writes what there is room for, and an ellipsis in place of the rest.
struct UpTo<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    /// In bytes; `None` behind the ellipsis.
    room: Option<usize>,
    /// Whether what was written last is a whole name, without the comma behind it.
    is_name: bool,
}

impl fmt::Write for UpTo<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Some(room) = self.room else { return Ok(()) };
        self.room = room.checked_sub(text.len());
        let written = match self.room {
            Some(_) => text,
            None if self.is_name => ", ...",
            None => "...",
        };
        self.is_name = !text.ends_with(' ');
        self.f.write_str(written)
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
                // Those of the program first: nothing but `octopod list` has them as well.
                let own = by_name(registered(), |parameter| parameter.name);
                let known = own.chain(known.into_iter().copied().flatten());
                let mut up_to = UpTo { f: &mut *f, room: Some(MAX_KNOWN_BYTES), is_name: false };
                for (index, parameter) in known.enumerate() {
                    up_to.write_str(if index == 0 { "" } else { ", " })?;
                    up_to.write_str(parameter.name)?;
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
                        write!(
                            UpTo { f: &mut *f, room: Some(MAX_ALLOWED_BYTES), is_name: false },
                            "{parameter}"
                        )?;
                        f.write_str(")")
                    }
                }
            }
        }
    }
}

impl core::error::Error for CommandLineError<'_> {}

#[cfg(test)]
mod tests {
    use std::fmt::{Display, Formatter, Result, Write};
    use std::string::ToString;

    use super::UpTo;

    /// A list of three names, with so much room.
    struct Names(usize);

    impl Display for Names {
        fn fmt(&self, f: &mut Formatter<'_>) -> Result {
            let mut up_to = UpTo { f, room: Some(self.0), is_name: false };
            ["one", ", ", "two", ", ", "ten"].into_iter().try_for_each(|text| up_to.write_str(text))
        }
    }

    /// Also where what is shown uses all of the room, and where a comma is the first that has none.
    #[test]
    fn an_ellipsis_stands_for_what_has_no_room() {
        let shown = [0, 3, 4, 5, 7, 8, 9, 12].map(|room| Names(room).to_string());
        let (one, two) = ("one, ...", "one, two, ...");
        assert_eq!(shown, ["...", one, one, one, one, two, two, two]);
        assert_eq!(Names(13).to_string(), "one, two, ten");
    }
}
