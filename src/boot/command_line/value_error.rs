//! Errors of a parameter's value.

use core::fmt;

use crate::console::filter::FilterError;
use crate::console::truncated::TruncatedText;

/// The error in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueError<'a> {
    /// Nothing follows the `=`.
    Empty,
    /// Not digits with, optionally, a point and more digits.
    NotSeconds,
    /// More than three decimals.
    TooManyDecimals,
    /// Neither decimal nor hexadecimal.
    NotANumber,
    /// Not two numbers with a dash between them, the second one greater.
    NotARange,
    /// The parameter was given as often as it may be.
    TooManyRanges {
        /// How often it may be.
        most: usize,
    },
    /// Not the hexadecimal digits of a number above 0.
    NotANonce,
    /// A number that is too small or too large.
    OutOfRange,
    /// The value, or this element of the list, is none of the names.
    UnknownName(&'a str),
    /// The list contains this name twice.
    GivenTwice(&'a str),
    /// Not ascending numbers above 0, or too many.
    NotAscending,
    /// Not a filter of log lines.
    Filter(FilterError<'a>),
    /// The kernel was built without the cargo feature that the value needs.
    NotBuiltIn {
        /// The missing feature of the kernel.
        what: &'static str,
        /// The cargo feature.
        feature: &'static str,
    },
}

impl fmt::Display for ValueError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ValueError::Empty => f.write_str("no value"),
            ValueError::NotSeconds => f.write_str("not a number of seconds"),
            ValueError::TooManyDecimals => f.write_str("more than three decimals"),
            ValueError::NotANumber => f.write_str("not a number"),
            ValueError::NotARange => f.write_str("not a range"),
            ValueError::TooManyRanges { most } => write!(f, "more than {most} ranges"),
            ValueError::NotANonce => f.write_str("not a nonce"),
            ValueError::OutOfRange => f.write_str("out of range"),
            ValueError::UnknownName(name) => write!(f, "\"{}\" is not known", TruncatedText(name)),
            ValueError::GivenTwice(name) => write!(f, "\"{}\" is given twice", TruncatedText(name)),
            ValueError::NotAscending => f.write_str("not a list of ascending numbers above 0"),
            ValueError::Filter(error) => error.fmt(f),
            ValueError::NotBuiltIn { what, feature } => {
                write!(f, "this kernel was built without {what} (build it with the feature `{feature}`)")
            }
        }
    }
}
