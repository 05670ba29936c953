//! Broken links, and paths and names that do not exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::page::Page;

/// The folders of the checkout; a code span that begins with one is a path.
const FOLDERS: [&str; 12] = [
    "src/",
    "ci/",
    "config/",
    "tests/",
    "examples/",
    "docs/",
    "ap_trampoline/",
    "unpacker/",
    "linker/",
    ".ci/",
    ".github/",
    ".cargo/",
];

/// The links of the pages that lead to no file, or to no heading.
pub(crate) fn broken_links(root: &Path, pages: &[Page]) -> Vec<String> {
    let mut lines = Vec::new();
    for page in pages {
        let folder = Path::new(&page.name).parent().unwrap_or(Path::new(""));
        for (line, link) in &page.links {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { PathBuf::from(&page.name) } else { plain(&folder.join(path)) };
            let other = pages.iter().find(|other| Path::new(&other.name) == target);
            if other.is_none() && !root.join(&target).exists() {
                lines.push(format!("{}:{line}: {link}: there is no {}", page.name, target.display()));
            } else if !anchor.is_empty()
                && !other.is_some_and(|other| other.anchors.iter().any(|known| known == anchor))
            {
                lines.push(format!("{}:{line}: {link}: {} has no such heading", page.name, target.display()));
            }
        }
    }
    lines
}

/// The path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// The code spans that look like a path of the checkout, and are none.
pub(crate) fn missing_paths(root: &Path, pages: &[Page]) -> Vec<String> {
    let is_path = |span: &str| {
        FOLDERS.iter().any(|folder| span.starts_with(folder))
            && span.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte))
    };
    let mut lines = Vec::new();
    for page in pages {
        let paths = page.spans.iter().filter(|(_, span)| is_path(span) && !root.join(span).exists());
        lines.extend(paths.map(|(line, span)| format!("{}:{line}: there is no {span}", page.name)));
    }
    lines
}

/// Names that pages have from elsewhere: variables that all programs heed, and names of schema 1 of the report.
const OTHER_NAMES: [&str; 5] = ["CLICOLOR_FORCE", "NO_COLOR", "boot_cpu", "not_called", "other_cpus"];

/// Each word of the sources that can be a name, and the names of the soundness tests.
pub(crate) fn words_of_sources(root: &Path) -> BTreeSet<String> {
    let mut words: BTreeSet<String> = OTHER_NAMES.map(str::to_owned).into();
    for entry in fs::read_dir(root.join("tests/soundness")).unwrap() {
        let path = entry.unwrap().path();
        words.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    let folders = FOLDERS.iter().filter(|folder| **folder != "docs/" && **folder != "tests/");
    for folder in folders {
        add_words(&root.join(folder), &mut words);
    }
    words
}

fn add_words(folder: &Path, words: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // These tests have examples of names that are wrong.
            if !path.ends_with("ci/tests") && !path.ends_with("ci/fuzz/target") {
                add_words(&path, words);
            }
        } else if let Ok(text) = fs::read_to_string(&path) {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            words.extend(text.split(|c: char| !is_word(c)).map(str::to_owned));
        }
    }
}

/// The name that a code span is: the last part of a path of Rust's, or one in snake case.
fn name_in(span: &str) -> Option<&str> {
    let span = span.split_once('(').map_or(span, |(name, _)| name);
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if !span.split("::").all(is_word) {
        return None;
    }
    let last = span.rsplit("::").next()?;
    (span.contains("::") || last.contains('_')).then_some(last)
}

/// The names in code spans that no source has.
pub(crate) fn unknown_names(words: &BTreeSet<String>, pages: &[Page]) -> Vec<String> {
    let mut lines = Vec::new();
    for page in pages {
        // It has the names of the past.
        if page.name == "CHANGELOG.md" {
            continue;
        }
        for (line, span) in &page.spans {
            if let Some(name) = name_in(span).filter(|name| !words.contains(*name)) {
                lines.push(format!("{}:{line}: `{span}`: no source has the name {name}", page.name));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(files: &[(&str, &str)]) -> Vec<Page> {
        files.iter().map(|(name, text)| Page::new(name, text)).collect()
    }

    #[test]
    fn a_link_to_a_page_and_its_heading_resolves_and_others_are_found() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("LICENCE"), "").unwrap();
        let good =
            "[a](#top) [b](docs/b.md) [c](docs/b.md#deep-down) [d](LICENCE) [e](https://example.org/x#y)";
        let home = format!("# Top\n{good}");
        let all = pages(&[("a.md", &home), ("docs/b.md", "## Deep down\n[up](../a.md#top) [l](../LICENCE)")]);
        assert_eq!(broken_links(folder.path(), &all), [""; 0]);
        for (text, line) in [
            ("[a](#bottom)", "a.md:1: #bottom: a.md has no such heading"),
            ("\n[a](docs/c.md)", "a.md:2: docs/c.md: there is no docs/c.md"),
            ("![a](b.md)", "a.md:1: b.md: there is no b.md"),
            ("[a](docs/b.md#up)", "a.md:1: docs/b.md#up: docs/b.md has no such heading"),
            ("[a](LICENCE#up)", "a.md:1: LICENCE#up: LICENCE has no such heading"),
        ] {
            let all = pages(&[("a.md", text), ("docs/b.md", "## Deep down")]);
            assert_eq!(broken_links(folder.path(), &all), [line]);
        }
    }

    #[test]
    fn a_path_that_is_not_there_is_found() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("src")).unwrap();
        fs::write(folder.path().join("src/lib.rs"), "").unwrap();
        let all = pages(&[("a.md", "`src/lib.rs` `src/` `src/…/x.rs` `target/x` `src/gone.rs`")]);
        assert_eq!(missing_paths(folder.path(), &all), ["a.md:1: there is no src/gone.rs"]);
    }

    #[test]
    fn a_name_that_no_source_has_is_found() {
        let words: BTreeSet<String> = ["call_async", "offline"].map(str::to_owned).into();
        let text = "`smp::call_async(x)` `call_async` `hotplug::offline` `cpu 3` `work=boot` `no::such()`\n`old_name`";
        let lines = unknown_names(&words, &pages(&[("a.md", text)]));
        assert_eq!(
            lines,
            [
                "a.md:1: `no::such()`: no source has the name such",
                "a.md:2: `old_name`: no source has the name old_name"
            ]
        );
    }
}
