//! The variables of the environment: those that the launcher reads, those of `--help`, and those of the documentation.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use octopod_ci::commands::cli;

/// Variables that the launcher sets for programs it starts.
const SET_FOR_OTHERS: [&str; 3] = ["OCTOPOD_END_AT_FIRST_FAILURE", "OCTOPOD_HOST_PROGRAM", "OCTOPOD_PAYLOAD"];

/// The beginning of each name.
const PREFIX: &str = "OCTOPOD_";

/// The names in the launcher's sources: each is a literal of its own.
pub(crate) fn of_sources(root: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect(&root.join("ci/src"), &mut names);
    for name in SET_FOR_OTHERS {
        assert!(names.remove(name), "the launcher does not set {name}");
    }
    names
}

fn collect(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let own = text.split("#[cfg(test)]").next().unwrap_or_default();
            let literals = own.split('"').filter(|word| word.starts_with(PREFIX) && is_name(word));
            names.extend(literals.map(str::to_owned));
        }
    }
}

fn is_name(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// The names in the section `Environment` of `--help`.
pub(crate) fn of_help() -> BTreeSet<String> {
    let help = cli::command().get_after_help().map(ToString::to_string).unwrap_or_default();
    let (_, rest) = help.split_once("\nEnvironment:\n").expect("`--help` has the environment");
    let lines = rest.lines().take_while(|line| line.starts_with("  "));
    lines.map(|line| name_of(line.trim_start())).collect()
}

/// The names in the first column of the table in a page's section `Environment`.
pub(crate) fn of_page(page: &str) -> BTreeSet<String> {
    let (_, rest) = page.split_once("\n## Environment\n").expect("the page has the environment");
    let rows = rest.split("\n## ").next().unwrap_or_default().lines().filter(|line| line.starts_with("| `"));
    let first = rows.filter_map(|row| row.split(" | ").next());
    first.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(name_of).collect()
}

/// `NAME` of `NAME=VALUE MEANING`.
fn name_of(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect()
}
