//! The text of a command line, split into words.

use super::CommandLineError;

/// A word of the line.
pub(crate) struct Word<'a> {
    /// The text before the first `=`.
    pub name: &'a str,
    /// The text after the first `=`, without quotes; `None` without `=`.
    pub value: Option<&'a str>,
}

/// Returns the line as text.
///
/// # Errors
/// The first byte that is neither printable ASCII nor white space: error messages quote the line, and a terminal would
/// obey a control character.
pub(crate) fn as_text(line: &[u8]) -> Result<&str, CommandLineError<'_>> {
    let is_text = |byte: u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    if let Some(offset) = line.iter().position(|byte| !is_text(*byte)) {
        return Err(CommandLineError::BadByte { offset, byte: line[offset] });
    }
    // ASCII is UTF-8.
    Ok(str::from_utf8(line).unwrap_or_default())
}

/// Splits off the first word; `None` at the end of the line.
///
/// # Errors
/// A quote that is not closed, or that does not surround a whole value.
pub(crate) fn next_word(line: &str) -> Result<Option<(Word<'_>, &str)>, CommandLineError<'_>> {
    let line = line.trim_ascii_start();
    if line.is_empty() {
        return Ok(None);
    }
    let bare_end = line.find(|c: char| c.is_ascii_whitespace()).unwrap_or(line.len());
    let (bare, after) = line.split_at(bare_end);
    let Some((name, value)) = bare.split_once('=') else {
        return if bare.contains('"') {
            Err(CommandLineError::StrayQuote { word: bare })
        } else {
            Ok(Some((Word { name: bare, value: None }, after)))
        };
    };
    let is_quoted = value.starts_with('"');
    if name.contains('"') || !is_quoted && value.contains('"') {
        return Err(CommandLineError::StrayQuote { word: bare });
    }
    if !is_quoted {
        return Ok(Some((Word { name, value: Some(value) }, after)));
    }
    // A quoted value may contain white space, so its end is searched in the line, not in the bare word.
    let quoted = &line[name.len() + 2..];
    let Some((value, after)) = quoted.split_once('"') else {
        return Err(CommandLineError::UnclosedQuote { word: line });
    };
    if after.starts_with(|c: char| !c.is_ascii_whitespace()) {
        return Err(CommandLineError::StrayQuote { word: &line[..name.len() + value.len() + 3] });
    }
    Ok(Some((Word { name, value: Some(value) }, after)))
}
