//! Text that somebody typed, quoted in a message.

use core::fmt::{self, Write};

/// Of a text no more than so many bytes are quoted: a message must fit into one line of the report.
pub const MAX_CUT_BYTES: usize = 80;

/// A text of printable ASCII and white space, cut to a length that a report can bear. White space becomes spaces: a
/// terminal would obey the rest of it.
pub struct Cut<'a>(pub &'a str);

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars().take(MAX_CUT_BYTES) {
            f.write_char(if character.is_ascii_whitespace() { ' ' } else { character })?;
        }
        if self.0.len() > MAX_CUT_BYTES { f.write_str("...") } else { Ok(()) }
    }
}
