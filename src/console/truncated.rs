//! User input quoted in a message.

use core::fmt::{self, Write};

/// The most bytes that are quoted: a message must fit into one line of the report.
pub(crate) const MAX_TEXT_BYTES: usize = 80;

/// Formats text of printable ASCII and white space, truncated to [`MAX_TEXT_BYTES`]. White space becomes spaces, so that it
/// does not control the terminal.
pub(crate) struct TruncatedText<'a>(pub &'a str);

impl fmt::Display for TruncatedText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars().take(MAX_TEXT_BYTES) {
            f.write_char(if character.is_ascii_whitespace() { ' ' } else { character })?;
        }
        if self.0.len() > MAX_TEXT_BYTES { f.write_str("...") } else { Ok(()) }
    }
}
