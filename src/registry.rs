//! What code outside this crate registers: tests, allocators, workloads, benches, parameters, faults, self-tests, trace events,
//! lines of the panic report. Each macro adds an entry to a list of its kind, which the linker puts together from all crates of
//! the program. An entry begins with a [`Header`], whose layout is fixed: the launcher lists the entries from the kernel's file,
//! without booting it.

use core::fmt;

#[doc(hidden)]
pub use linkme;

/// A text with a fixed layout.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text {
    start: *const u8,
    bytes: usize,
}

// SAFETY: the fields must be readable on every CPU. They are those of a `&'static str`, by `new`.
unsafe impl Send for Text {}
// SAFETY: shared use must be free of data races. The fields never change, and those of a `&'static str` do not either.
unsafe impl Sync for Text {}

impl Text {
    /// The text.
    pub const fn new(text: &'static str) -> Text {
        Text { start: text.as_ptr(), bytes: text.len() }
    }

    /// Returns the text.
    pub const fn as_str(&self) -> &'static str {
        // SAFETY: the pointer must be valid for reads of this many bytes, for ever. `new` took both from a `&'static str`.
        let bytes = unsafe { core::slice::from_raw_parts(self.start, self.bytes) };
        // SAFETY: the bytes must be UTF-8. `new` took them from a `&str`.
        unsafe { core::str::from_utf8_unchecked(bytes) }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// The beginning of each entry.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Its name.
    pub name: Text,
    /// Its purpose, in one sentence.
    pub summary: Text,
    /// The source file of its registration.
    pub file: Text,
    /// The line in it.
    pub line: u32,
}

impl Header {
    /// The header of an entry.
    pub const fn new(name: &'static str, summary: &'static str, file: &'static str, line: u32) -> Header {
        Header { name: Text::new(name), summary: Text::new(summary), file: Text::new(file), line }
    }

    /// Its name, and its place.
    pub fn named_place(&self) -> (&'static str, Place<'static>) {
        (self.name.as_str(), Place { file: self.file.as_str(), line: self.line })
    }
}

/// The text of documentation comments, in one line.
#[doc(hidden)]
#[macro_export]
macro_rules! summary {
    () => { "" };
    ($first:literal $($rest:literal)*) => { $crate::registry::trimmed(concat!($first $(, $rest)*)) };
}

/// A text without the space at its begin.
#[doc(hidden)]
pub const fn trimmed(text: &'static str) -> &'static str {
    match text.as_bytes() {
        [b' ', ..] => text.split_at(1).1,
        _ => text,
    }
}

/// The place of a registration. Places are in the order of files and lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place<'a> {
    /// The source file.
    pub file: &'a str,
    /// The line in it.
    pub line: u32,
}

impl Place<'_> {
    /// No place is known.
    pub const UNKNOWN: Place<'static> = Place { file: "?", line: 0 };
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Two entries of one kind with the same name: both are the program's, or one is octopod's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate<'a> {
    /// The kind, in the plural.
    pub kind: &'static str,
    /// The name.
    pub name: &'a str,
    /// The lower place; `None` for an entry of octopod's own.
    pub first: Option<Place<'a>>,
    /// The higher place.
    pub second: Place<'a>,
}

impl fmt::Display for Duplicate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Duplicate { kind, name, first, second } = self;
        match first {
            Some(first) => {
                write!(f, "the program registers two {kind} called {name}, at {first} and at {second}")
            }
            None => write!(f, "{second}: {name} is also the name of one of octopod's own {kind}"),
        }
    }
}

/// The first entry that has the name of an earlier one or, as `is_own` knows, of octopod's own: both of them. The linker puts the list
/// together in no order that a program determines.
pub fn duplicate<'a>(
    kind: &'static str,
    is_own: impl Fn(&str) -> bool,
    registered: impl Iterator<Item = (&'a str, Place<'a>)> + Clone,
) -> Option<Duplicate<'a>> {
    registered.clone().enumerate().find_map(|(index, (name, second))| {
        let mut earlier = registered.clone().take(index);
        if is_own(name) {
            return Some(Duplicate { kind, name, first: None, second });
        }
        let first = earlier.find(|(other, _)| *other == name)?.1;
        Some(Duplicate { kind, name, first: Some(first.min(second)), second: first.max(second) })
    })
}

/// The entries of a list by name, for people: the linker puts the list together in no order that a program determines.
pub fn by_name<'a, T>(
    entries: &'a [T],
    name: impl Fn(&'a T) -> &'a str + Copy,
) -> impl Iterator<Item = &'a T> + Clone {
    let key = move |index: usize| (name(&entries[index]), index);
    let after = move |last: Option<usize>| {
        let rest = (0..entries.len()).filter(move |index| last.is_none_or(|last| key(*index) > key(last)));
        rest.min_by_key(|index| key(*index))
    };
    core::iter::successors(after(None), move |last| after(Some(*last))).map(|index| &entries[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_one_name_are_found_with_both_places() {
        let found = |own: &[&'static str], headers: &[(&'static str, u32)]| {
            let headers: Vec<_> =
                headers.iter().map(|(name, line)| Header::new(name, "", "a.rs", *line)).collect();
            duplicate("things", |name| own.contains(&name), headers.iter().map(Header::named_place))
                .map(|found| found.to_string())
        };
        assert_eq!(found(&["d"], &[("a", 1), ("b", 2), ("ab", 3)]), None);
        for (first, second) in [(2, 4), (4, 2)] {
            assert_eq!(
                found(&["d"], &[("a", 1), ("b", first), ("c", 3), ("b", second)]).unwrap(),
                "the program registers two things called b, at a.rs:2 and at a.rs:4"
            );
        }
        assert_eq!(
            found(&["d", "c"], &[("a", 1), ("c", 3)]).unwrap(),
            "a.rs:3: c is also the name of one of octopod's own things"
        );
    }

    #[test]
    fn entries_are_listed_by_name_and_each_once() {
        let entries = ["zoo", "ark", "queue", "ark"];
        let listed: Vec<_> = by_name(&entries, |entry| entry).collect();
        assert_eq!(listed, [&"ark", &"ark", &"queue", &"zoo"]);
        assert_eq!(by_name::<&str>(&[], |entry| entry).count(), 0);
    }
}
