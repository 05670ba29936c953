//! Foreign text, made safe to show: strings of records and reports, serial lines, messages of emulators and tools, names of
//! files.
//!
//! A terminal, a page and a JUnit viewer all obey some characters instead of showing them. [`line()`] and [`lines`] remove
//! escape sequences (ECMA-48), C0 and C1 controls, bidirectional controls, line and paragraph separators, and characters
//! without a shape. Everything that was not written in this launcher's source passes through one of them before it is shown.
//! [`styled`] is the last step before a terminal: it lets the launcher's own colours through, and nothing else.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Returns whether a character shows itself and does nothing else. A tab does.
pub fn is_shown(character: char) -> bool {
    match character {
        '\t' => true,
        // Soft hyphen; Arabic letter mark; Mongolian vowel separator.
        '\u{ad}' | '\u{61c}' | '\u{180e}' => false,
        // Zero-width characters and marks; separators, embeddings and overrides; isolates; byte order mark.
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => false,
        // Interlinear annotation; tags.
        '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => false,
        // C0 with DEL, and C1.
        character => !character.is_control(),
    }
}

/// Text on one line: a line break within it becomes a space.
pub fn line(text: &str) -> String {
    let mut shown = shown(text);
    // The end of a line is no gap in it.
    shown.truncate(shown.trim_end_matches(' ').len());
    shown
}

fn shown(text: &str) -> String {
    let stripped = anstream::adapter::strip_str(text).to_string();
    let mut shown = String::with_capacity(stripped.len());
    for character in stripped.chars() {
        match character {
            '\n' | '\u{85}' | '\u{2028}' | '\u{2029}' => shown.push(' '),
            character if is_shown(character) => shown.push(character),
            _ => {}
        }
    }
    shown
}

/// Text of several lines: those that end in a line feed stay apart.
pub fn lines(text: &str) -> String {
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// One line for a terminal, in which the launcher's own colours (ECMA-48, 8.3.117) work.
pub fn styled(text: &str) -> String {
    const INTRODUCER: &str = "\u{1b}[";
    let mut out = String::with_capacity(text.len());
    // Foreign text up to the next colour, which may hold other sequences.
    let (mut rest, mut searched) = (text, 0);
    while let Some(at) = rest[searched..].find(INTRODUCER) {
        let start = searched + at;
        let parameters = &rest[start + INTRODUCER.len()..];
        let length = parameters.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
        searched = start + INTRODUCER.len() + length;
        if rest[searched..].starts_with('m') {
            out.push_str(&shown(&rest[..start]));
            out.push_str(&rest[start..=searched]);
            (rest, searched) = (&rest[searched + 1..], 0);
        }
    }
    out + &line(rest)
}

/// A value with all strings in it cleaned, keys too. Line feeds stay: each place that shows a string decides about them.
///
/// # Errors
/// The JSON of the value cannot be read back; only where its (de)serialisation is not symmetric.
pub fn cleaned<T: Serialize + DeserializeOwned>(value: T) -> Result<T, serde_json::Error> {
    let mut json = serde_json::to_value(value)?;
    clean(&mut json);
    serde_json::from_value(json)
}

/// Cleans all strings of a JSON value.
pub fn clean(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(shown) = clean_text(text) {
                *text = shown;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(fields) => {
            if fields.keys().any(|key| is_unclean(key)) {
                *fields = std::mem::take(fields).into_iter().map(|(key, one)| (lines(&key), one)).collect();
            }
            fields.values_mut().for_each(clean);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn clean_text(text: &str) -> Cow<'_, str> {
    if is_unclean(text) { Cow::Owned(lines(text)) } else { Cow::Borrowed(text) }
}

/// Returns whether [`lines`] would change it.
pub fn is_unclean(text: &str) -> bool {
    !text.chars().all(|character| character == '\n' || is_shown(character))
}

/// The first line; where it ends with a colon, such as `cpu 0 panicked at main.rs:7:`, with the line that it announces.
pub fn headline(text: &str) -> String {
    let mut all = text.lines();
    let mut headline = all.next().unwrap_or_default().to_owned();
    while headline.ends_with(':')
        && let Some(next) = all.next()
    {
        headline.push(' ');
        headline.push_str(next.trim());
    }
    headline
}

/// A number of things, whose noun has the singular's form for one.
pub fn count(number: usize, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

/// A path, shorter from here where it is below.
pub fn path(path: &std::path::Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Characters that a terminal, a browser or a viewer of JUnit files interprets.
    pub(crate) const COMMANDS: [&str; 12] = [
        "\u{1b}[2J",
        "\u{1b}]0;title\u{7}",
        "\u{9b}2J",
        "\u{85}",
        "\r\n",
        "\u{2028}",
        "\u{202e}",
        "\u{2066}",
        "\u{200f}",
        "\u{feff}",
        "\u{8}\u{8}",
        "\u{0}\u{7f}",
    ];

    #[test]
    fn a_terminal_is_not_commanded() {
        assert_eq!(line("\u{1b}[2J\u{1b}cSea\u{8}BIOS\t1\u{7f}\r"), "SeaBIOS\t1");
        for command in COMMANDS {
            for shown in [line(command), styled(command), lines(command)] {
                assert!(shown.chars().all(|c| c == '\n' || is_shown(c)), "{command:?}: {shown:?}");
            }
            let shown = line(&format!("a{command}PASS"));
            assert_eq!(shown.lines().count(), 1, "{command:?}: {shown:?}");
        }
    }

    #[test]
    fn a_line_break_parts_words_and_text_of_other_scripts_stays() {
        assert_eq!(
            line("assertion failed\n  left: 1\r\n right: 2\n"),
            "assertion failed   left: 1  right: 2"
        );
        assert_eq!(lines("a\u{1b}[1m\r\nb\n"), "a\nb\n");
        let text = "größer → ∑ 漢字 שלום 👍";
        assert_eq!([line(text), styled(text)], [text, text]);
    }

    #[test]
    fn own_colours_pass_and_nothing_else() {
        let own = "\u{1b}[1m\u{1b}[32mPASS\u{1b}[0m  4 CPUs";
        assert_eq!(styled(own), own);
        assert_eq!(styled("\u{1b}[1;31mFAIL\u{1b}[0m  a\u{1b}[2K\u{1b}[3\u{1b}[0mb\u{9b}1A"), {
            "\u{1b}[1;31mFAIL\u{1b}[0m  a\u{1b}[0mb1A"
        });
        assert_eq!(styled("\u{1b}["), "");
    }

    #[test]
    fn all_strings_of_a_value_are_cleaned() {
        let mut value = serde_json::json!({ "a\u{9b}": ["x\u{202e}y", { "b": "1\n2\r" }], "n": u64::MAX });
        clean(&mut value);
        assert_eq!(value, serde_json::json!({ "a": ["xy", { "b": "1\n2" }], "n": u64::MAX }));
    }
}
