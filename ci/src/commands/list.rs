//! `list`: shows what a program registers with octopod, as its file has it. Nothing is booted.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::base::files::{Plan, input, output};
use crate::base::{Error, Observer, Workspace};
use crate::commands::args::{ProgressArgs, TerminalArgs};
use crate::kernel::KernelConfig;
use crate::kernel::build;
use crate::kernel::registry::{self, Entry, NameList};
use crate::present::terminal::Console;
use crate::setup::target;

/// The kinds of entries, in the order in which they are shown, each with its list.
const KINDS: [(&str, NameList); 12] = [
    ("frame allocator", NameList::Allocators),
    ("heap", NameList::Heaps),
    ("workload", NameList::Workloads),
    ("workload of heaps", NameList::HeapWorkloads),
    ("benchmark", NameList::Benches),
    ("self-test", NameList::SelfTests),
    ("test", NameList::Tests),
    ("fault", NameList::Faults),
    ("scheduling policy", NameList::Schedulers),
    ("trace event", NameList::Events),
    ("parameter", NameList::Parameters),
    ("panic context", NameList::PanicContexts),
];

/// Options of `list`.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// The ELF file of a kernel or of tests [default: the kernel of the project or the checkout, which is built].
    #[arg(value_name = "ELF", conflicts_with = "debug")]
    pub elf: Option<PathBuf>,

    /// Build without optimisation.
    #[arg(long, help_heading = "Kernel")]
    pub debug: bool,

    /// Write the list to this file, as JSON; - means standard output, which then has nothing else.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) terminal: TerminalArgs,
    #[command(flatten)]
    pub(crate) progress: ProgressArgs,
}

/// An entry of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Listed {
    kind: &'static str,
    name: String,
    summary: String,
    file: String,
    line: u32,
}

impl ListArgs {
    /// Shows the list. Returns the exit status.
    pub fn execute(&self) -> u8 {
        let mut console = Console::new(&self.terminal.configure(&self.progress, self.json.as_ref()));
        match self.list(&mut console) {
            Ok(lines) => {
                lines.iter().for_each(|line| console.say(line));
                0
            }
            Err(error) => console.refuse(&error),
        }
    }

    /// The lines to show; the list itself is in the file that `--json` names.
    fn list(&self, observer: &mut dyn Observer) -> Result<Vec<String>, Error> {
        let workspace = Workspace::find_or_here()?;
        let mut files = Plan::default();
        self.elf.iter().for_each(|elf| files.reads("ELF", elf));
        self.json.iter().for_each(|json| files.writes("--json", json, "list"));
        files.check(Some(&workspace.root))?;
        let path = match &self.elf {
            Some(elf) => elf.clone(),
            None => self.build(&workspace, observer)?,
        };
        let entries = entries(&path)?;
        let Some(json) = &self.json else { return Ok(lines(&entries)) };
        let text = format!("{:#}\n", serde_json::json!(entries));
        let written = match json.as_os_str() == "-" {
            true => io::stdout().write_all(text.as_bytes()),
            false => output::write(json, text.as_bytes()),
        };
        written.map_err(Error::unwritable("--json", json))?;
        Ok(Vec::new())
    }

    /// Builds the kernel of the workspace. Returns its file.
    fn build(&self, workspace: &Workspace, observer: &mut dyn Observer) -> Result<PathBuf, Error> {
        let config = KernelConfig { debug: self.debug, ..KernelConfig::default() };
        build::check(&config, workspace)?;
        target::provide(observer)?;
        Ok(build::provide(&config, workspace, observer)?.symbols)
    }
}

/// The entries of the program in a file: by kind, then by name and place.
fn entries(path: &Path) -> Result<Vec<Listed>, Error> {
    let elf = input::read(path, build::MOST_BYTES)?;
    let mut listed = Vec::new();
    for (kind, list) in KINDS {
        let mut names = registry::names(&elf, list).map_err(|error| error.of_file(path))?;
        names.sort_by(|one, other| (&one.name, one.place()).cmp(&(&other.name, other.place())));
        if list == NameList::Events {
            // The same name at several places is one event.
            names.dedup_by(|one, other| one.name == other.name);
        }
        listed.extend(names.into_iter().map(|Entry { name, summary, file, line }| {
            let summary = summary.trim().to_owned();
            Listed { kind, name, summary, file, line }
        }));
    }
    Ok(listed)
}

/// The lines of a list, with columns below each other.
fn lines(entries: &[Listed]) -> Vec<String> {
    if entries.is_empty() {
        return vec!["the program registers nothing".to_owned()];
    }
    let place = |entry: &Listed| format!("{}:{}", entry.file, entry.line);
    let width = |column: &dyn Fn(&Listed) -> usize| entries.iter().map(column).max().unwrap_or_default();
    let kinds = width(&|entry| entry.kind.chars().count());
    let names = width(&|entry| entry.name.chars().count());
    let places = width(&|entry| place(entry).chars().count());
    let line = |entry: &Listed| {
        let line = format!(
            "{:kinds$}  {:names$}  {:places$}  {}",
            entry.kind,
            entry.name,
            place(entry),
            entry.summary
        );
        line.trim_end().to_owned()
    };
    entries.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_stand_below_each_other() {
        let entry = |kind, name: &str, summary: &str, line| Listed {
            kind,
            name: name.to_owned(),
            summary: summary.to_owned(),
            file: "src/main.rs".to_owned(),
            line,
        };
        let entries = [entry("heap", "cells", "Cells of 64 bytes.", 9), entry("benchmark", "hash", "", 120)];
        let expected =
            ["heap       cells  src/main.rs:9    Cells of 64 bytes.", "benchmark  hash   src/main.rs:120"];
        assert_eq!(lines(&entries), expected);
        assert_eq!(lines(&[]), ["the program registers nothing"]);
    }

    /// This test's own program registers nothing; a text is no program.
    #[test]
    fn a_file_without_lists_is_empty_and_another_format_is_refused() {
        assert_eq!(entries(&std::env::current_exe().unwrap()).unwrap(), []);
        let text = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(text.path(), "no program").unwrap();
        let error = entries(text.path()).unwrap_err();
        assert_eq!(error.verdict().status(), 2);
        assert!(error.to_string().contains("is not a kernel that can be booted"), "{error}");
    }
}
