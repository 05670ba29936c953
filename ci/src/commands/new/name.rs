//! The name of a project's package.

use std::path::Path;

use crate::base::Error;

/// Rust's keywords, which cargo takes for no package's name.
const KEYWORDS: [&str; 51] = [
    "Self", "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do",
    "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield",
];

/// Folders of cargo's in a target folder, which no program may be called.
const FOLDERS: [&str; 4] = ["build", "deps", "examples", "incremental"];

/// Crates that a program has already.
const CRATES: [&str; 7] = ["alloc", "core", "octopod", "proc-macro", "proc_macro", "std", "test"];

/// The name of the package in a new folder: the folder's.
///
/// # Errors
/// The folder has no name of its own, or one that is no name of a package.
pub(super) fn of(folder: &Path) -> Result<String, Error> {
    let Some(name) = folder.file_name() else {
        let folder = folder.display();
        return Err(Error::Usage(format!(
            "\"{folder}\" is no folder that can be made: give the name of the project, as in `octopod new hello`"
        )));
    };
    let name = name.to_string_lossy().into_owned();
    check(&name)?;
    Ok(name)
}

/// Refuses what cargo takes for no package's name, and the names of crates that every kernel has.
///
/// # Errors
/// The reason.
pub(super) fn check(name: &str) -> Result<(), Error> {
    let refused = |reason: &str| Err(Error::Usage(format!("\"{name}\" is no name of a package: {reason}")));
    let mut letters = name.chars();
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if !(letters.next().is_some_and(|first| first.is_ascii_alphabetic()) && letters.all(is_word)) {
        return refused("that has ASCII letters, digits, - and _, a letter first");
    }
    if KEYWORDS.contains(&name) {
        return refused("it is a keyword of Rust");
    }
    if FOLDERS.contains(&name) {
        return refused("cargo has a folder of this name among what it builds");
    }
    if CRATES.contains(&name) {
        return refused("it would clash with the crate of this name");
    }
    Ok(())
}
