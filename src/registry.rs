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

/// Two entries of one list with the same name: the first such pair.
pub fn duplicate<'a>(headers: impl Iterator<Item = &'a Header> + Clone) -> Option<(&'a Header, &'a Header)> {
    headers.clone().enumerate().find_map(|(index, one)| {
        let same = |other: &&Header| other.name.as_str() == one.name.as_str();
        headers.clone().skip(index + 1).find(same).map(|other| (one, other))
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
    fn entries_of_one_name_are_found() {
        let header = |name, line| Header::new(name, "", "a.rs", line);
        let different = [header("a", 1), header("b", 2), header("ab", 3)];
        assert!(duplicate(different.iter()).is_none());
        let twice = [header("a", 1), header("b", 2), header("c", 3), header("b", 4)];
        let (one, other) = duplicate(twice.iter()).unwrap();
        assert_eq!((one.name.as_str(), one.line, other.line), ("b", 2, 4));
    }

    #[test]
    fn entries_are_listed_by_name_and_each_once() {
        let entries = ["zoo", "ark", "queue", "ark"];
        let listed: Vec<_> = by_name(&entries, |entry| entry).collect();
        assert_eq!(listed, [&"ark", &"ark", &"queue", &"zoo"]);
        assert_eq!(by_name::<&str>(&[], |entry| entry).count(), 0);
    }
}
