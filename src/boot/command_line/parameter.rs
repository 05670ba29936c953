//! The declaration of a parameter.

use core::fmt;

use super::value_error::ValueError;
use crate::registry::Place;

/// The most sets that one command line is parsed for.
pub const MAX_SETS: usize = 12;

/// Sets a parameter to the value that a text stands for.
pub type SetParameter = for<'a> fn(&'a str) -> Result<(), ValueError<'a>>;

/// The declaration of a parameter.
#[derive(Clone, Copy)]
pub struct Parameter {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its effect, in one or a few sentences.
    pub summary: &'static str,
    /// Writes which values it takes.
    pub allowed: fn(&mut fmt::Formatter<'_>) -> fmt::Result,
    /// Writes the value that it has by default; nothing if it has none.
    pub default: fn(&mut fmt::Formatter<'_>) -> fmt::Result,
    /// Sets a parameter that a program registers; `None` for those of a set.
    pub set: Option<SetParameter>,
    /// Where the program registers it; `None` for those of a set.
    pub place: Option<Place<'static>>,
}

impl PartialEq for Parameter {
    fn eq(&self, other: &Parameter) -> bool {
        self.name == other.name
    }
}

impl Eq for Parameter {}

impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Which values the parameter takes.
impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.allowed)(f)
    }
}

/// The parameters of a set.
pub type ParameterList = &'static [Parameter];
