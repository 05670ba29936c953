//! Reads every source and fails on a SAFETY comment that refers elsewhere ("as above", "likewise", "the caller vouches").
//!
//! Such a comment states no fact, and the code that it refers to may move or change. A SAFETY comment names the obligation, the
//! fact that meets it, and the line that enforces the fact. An obligation of the caller is written: "…, guaranteed by the
//! caller (see # Safety)".

use std::fs;
use std::path::{Path, PathBuf};

/// Folders with Rust sources, relative to the package's.
const FOLDERS: &[&str] = &["src", "ap_trampoline", "unpacker", "ci", "examples", "tests", "config", "macros"];

/// Phrases that refer elsewhere, in lower case.
const PHRASES: &[&str] = &[
    "as above",
    "as below",
    "as before",
    "see above",
    "likewise",
    "as in ",
    "as for ",
    "same as ",
    "vouch",
    "caller's condition",
    "conditions of the call",
];

/// What says whose obligation it is. A comment that says nothing else names no obligation.
const BY_CALLER: &str = "guaranteed by the caller";

/// A SAFETY comment: its line, from 1, and its text.
type Comment = (usize, String);

#[test]
fn no_safety_comment_points_elsewhere() {
    let package: PathBuf = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test").into();
    let (mut files, mut found, mut problems) = (Vec::new(), 0, Vec::new());
    FOLDERS.iter().for_each(|folder| sources(&package.join(folder), &mut files));
    for file in files.iter().filter(|file| !file.ends_with("tests/safety_comments.rs")) {
        for (line, words) in comments(&fs::read_to_string(file).unwrap()) {
            found += 1;
            if let Some(phrase) = points_elsewhere(&words) {
                problems.push(format!("{}:{line}: {phrase:?}: {words}", file.display()));
            }
        }
    }
    assert!(found > 300, "{found} SAFETY comments in {} files: the test has gone blind", files.len());
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn comments_are_read_whole_and_checked() {
    let source = "
        // SAFETY: the pointer is valid,
        // as above.
        unsafe { f() };
        // SAFETY: the area is never freed, guaranteed by the caller (see # Safety).
        unsafe { g() };
        let x = 1; // SAFETY: Likewise.
        // SAFETY: it was in use.
        let y = 2;
        // Not a SAFETY comment: as above.
    ";
    let comments = comments(source);
    assert_eq!(comments.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 5, 7, 8]);
    assert_eq!(comments[0].1, "the pointer is valid, as above.");
    let judged: Vec<_> = comments.iter().map(|(_, words)| points_elsewhere(words)).collect();
    assert_eq!(judged, [Some("as above"), None, Some("likewise"), None]);
    assert_eq!(points_elsewhere("guaranteed by the caller (see # Safety)."), Some(BY_CALLER));
    assert_eq!(points_elsewhere("this is guaranteed by the caller (see # Safety there)."), Some(BY_CALLER));
}

fn points_elsewhere(words: &str) -> Option<&'static str> {
    // A phrase begins at a word: "was in use" does not match.
    let words = format!(" {}", words.to_lowercase());
    let others = words.split_once(BY_CALLER).map(|(before, _)| before.split_whitespace().count());
    if others.is_some_and(|others| others < 3) {
        return Some(BY_CALLER);
    }
    PHRASES.iter().copied().find(|phrase| words.contains(&format!(" {phrase}")))
}

fn comments(source: &str) -> Vec<Comment> {
    let mut comments: Vec<Comment> = Vec::new();
    let mut is_open = false;
    for (index, line) in source.lines().enumerate() {
        if let Some((_, words)) = line.split_once("// SAFETY:") {
            comments.push((index + 1, words.trim().to_string()));
            // A comment behind code ends with its line.
            is_open = line.trim_start().starts_with("//");
        } else if let Some(words) = line.trim_start().strip_prefix("// ").filter(|_| is_open) {
            let (_, comment) = comments.last_mut().expect("a comment is open");
            comment.push(' ');
            comment.push_str(words.trim());
        } else {
            is_open = false;
        }
    }
    comments
}

/// The Rust files below a folder, except build output.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
