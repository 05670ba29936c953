//! `cargo mutants` on the frame allocator: each mutant is a small change that a test must detect. Mutants that no test can
//! detect are in `config/mutants.toml`, each with the reason. Any other undetected mutant fails the soak.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::base::{Error, Message, Observer};
use crate::commands::soak::cargo::Cargo;
use crate::commands::soak::task::{Ended, Task};
use crate::present::terminal::Console;
use crate::setup;

/// The sources of the allocator, with its tests.
const SOURCES: [&str; 3] = ["src/memory/frames", "src/memory/cache", "src/memory/tests"];

/// The tests that are run of each mutant.
struct Tests {
    /// By which they are chosen.
    words: &'static [&'static str],
    /// The time limit of the tests, in seconds: about ten times what they take. Many a mutant never comes to an end.
    limit_s: &'static str,
}

const ALL: Tests = Tests { words: &["memory::"], limit_s: "30" };
/// Without those that take most of the time and catch few that the rest does not.
const QUICK: Tests = Tests { words: &["memory::", "--", "--skip", "concurrent"], limit_s: "8" };

/// Cases of each property test: a mutant that these do not catch is seldom caught by more.
const CASES: &str = "24";

/// `config/mutants.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The files in which mutants are made.
    files: Vec<String>,
    /// The part of them that must be caught, in percent.
    least_caught_percent: u64,
    /// Mutants that no test has to detect.
    #[serde(default)]
    missed: Vec<Excused>,
}

/// A mutant that no test can see, or need see.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Excused {
    /// As cargo-mutants names it, without line and column, which move.
    mutant: String,
    /// The number of mutants of this name.
    #[serde(default = "one")]
    times: u64,
    /// The reason.
    reason: String,
}

fn one() -> u64 {
    1
}

/// The results of a file's mutants, and the sources that they are results of.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    sources: Sources,
    outcomes: Outcomes,
}

/// Numbers that change with the files in which mutants are made, and with what lies beside them: tests, and what these need.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Sources {
    code: u64,
    tests: u64,
}

/// The results of the mutants.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Outcomes {
    /// Caught by a test, or by not coming to an end.
    caught: u64,
    /// Not caught, as cargo-mutants names them.
    missed: Vec<String>,
    /// Changes that do not compile.
    unviable: u64,
}

/// Tries all mutants, or about as many as the task asks for, spread over all.
pub(crate) fn run(task: &Task<'_>, console: &mut Console) -> Result<Ended, Error> {
    let program = setup::rust::program("cargo-mutants", task.workspace, console)?;
    let path = task.workspace.root.join("config/mutants.toml");
    let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    let config: Config = toml::from_str(&text).map_err(Error::format(path))?;

    let outcomes = match task.count {
        Some(count) => a_part(&program, &config.files, count, task, console)?,
        None => {
            let sources = Sources::read(&task.workspace.root, &config.files)
                .map_err(Error::file("read", "src/memory"))?;
            let mut all = Outcomes::default();
            for file in &config.files {
                all = all.and(all_of(&program, file, sources, task, console)?);
            }
            all
        }
    };
    Ok(match config.judge(&outcomes) {
        Ok(text) => Ended::Passed(text),
        Err(text) => Ended::Failed(text, task.folder.path.clone()),
    })
}

/// About `count` mutants of these files, spread over all, with all tests.
fn a_part(
    program: &Path,
    files: &[String],
    count: u64,
    task: &Task<'_>,
    console: &mut Console,
) -> Result<Outcomes, Error> {
    let mut words = Vec::new();
    files.iter().for_each(|file| words.extend(["--file", file]));
    let mut all = 0;
    let list = [&["mutants", "--package", "octopod", "--no-config", "--list"], &words[..]].concat();
    let listed = Cargo::start_with(Command::new(program), task, "mutants", &list)
        .run(|line| all += u64::from(line.starts_with("src/")))?;
    if !listed.status.success() {
        return Err(listed.failed());
    }
    let shard = format!("0/{}", all.div_ceil(count).max(1));
    words.extend(["--shard", &shard, "--sharding", "round-robin"]);
    pass(program, &words, &ALL, task, console)
}

/// All mutants of a file. Their results are kept, so that an interrupted soak continues with the next file. When the allocator
/// changes, all are tried again. When only its tests change, those are tried again that the tests had missed.
fn all_of(
    program: &Path,
    file: &str,
    sources: Sources,
    task: &Task<'_>,
    console: &mut Console,
) -> Result<Outcomes, Error> {
    let folder = task.workspace.own().join("soak/mutants");
    fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
    let path = folder.join(file.replace('/', "-")).with_extension("json");
    let kept = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
    let before = match kept.filter(|kept| kept.sources.code == sources.code) {
        Some(kept) if kept.sources.tests == sources.tests => return Ok(kept.outcomes),
        Some(kept) => kept.outcomes,
        None => pass(program, &["--file", file], &QUICK, task, console)?,
    };
    let outcomes = match before.missed.is_empty() {
        true => before,
        false => {
            let only = before.missed.iter().map(|name| format!("--re=^{}$", escape(name)));
            let words: Vec<_> = ["--file".to_owned(), file.to_owned()].into_iter().chain(only).collect();
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let again = pass(program, &words, &ALL, task, console)?;
            Outcomes { missed: Vec::new(), ..before }.and(again)
        }
    };
    let kept = Kept { sources, outcomes };
    let text =
        serde_json::to_string_pretty(&kept).map_err(|problem| Error::file("write", &path)(problem.into()))?;
    fs::write(&path, text).map_err(Error::file("write", &path))?;
    Ok(kept.outcomes)
}

impl Sources {
    /// As they are below `root` now.
    fn read(root: &Path, files: &[String]) -> io::Result<Sources> {
        let (mut code, mut tests) = (DefaultHasher::new(), DefaultHasher::new());
        let mut folders = SOURCES.map(|folder| root.join(folder)).to_vec();
        while let Some(folder) = folders.pop() {
            let mut entries =
                fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
            entries.sort();
            for path in entries {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let is_code = files.iter().any(|file| root.join(file) == path);
                    fs::read(path)?.hash(if is_code { &mut code } else { &mut tests });
                }
            }
        }
        Ok(Sources { code: code.finish(), tests: tests.finish() })
    }
}

/// Runs cargo-mutants to its end, on the mutants that `words` choose.
fn pass(
    program: &Path,
    words: &[&str],
    tests: &Tests,
    task: &Task<'_>,
    console: &mut Console,
) -> Result<Outcomes, Error> {
    let folder = task.folder.path.display().to_string();
    let always = ["mutants", "--package", "octopod", "--no-config", "--output", &folder];
    let how = ["--timeout", tests.limit_s, "--colors", "never", "--cargo-arg=--lib"];
    let words = [&always, words, &how, &["--"], tests.words].concat();
    let mut cargo = Cargo::start_with(Command::new(program), task, "mutants", &words);
    console.receive(Message::Step("the tests without a mutant"));
    cargo.command().env("PROPTEST_CASES", CASES).env("OCTOPOD_END_AT_FIRST_FAILURE", "1");
    // Every mutant is a build: no more of it than the tests need.
    cargo.command().env("CARGO_PROFILE_DEV_DEBUG", "none").env("CARGO_INCREMENTAL", "1");
    let ran = cargo.run(|line| {
        console.receive(Message::Step(&format!("mutants: {line}")));
        console.receive(Message::Tool(line));
    })?;
    // 2 and 3: some were missed, or did not end.
    if !matches!(ran.status.code(), Some(0 | 2 | 3)) {
        return Err(ran.failed());
    }
    let output = task.folder.file("mutants.out");
    Outcomes::read(&output).map_err(Error::file("read", output))
}

impl Outcomes {
    fn and(mut self, mut other: Outcomes) -> Outcomes {
        self.caught += other.caught;
        self.missed.append(&mut other.missed);
        self.unviable += other.unviable;
        self
    }

    /// Reads what cargo-mutants has written.
    fn read(folder: &Path) -> io::Result<Outcomes> {
        let lines = |name: &str| -> io::Result<Vec<String>> {
            Ok(fs::read_to_string(folder.join(name))?.lines().map(str::to_owned).collect())
        };
        Ok(Outcomes {
            caught: (lines("caught.txt")?.len() + lines("timeout.txt")?.len()) as u64,
            missed: lines("missed.txt")?,
            unviable: lines("unviable.txt")?.len() as u64,
        })
    }
}

impl Config {
    /// The work done, or the error.
    fn judge(&self, outcomes: &Outcomes) -> Result<String, String> {
        let mut excused: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in self.missed.iter().filter(|entry| !entry.reason.trim().is_empty()) {
            *excused.entry(&entry.mutant).or_default() += entry.times;
        }
        let mut unexcused = Vec::new();
        for mutant in &outcomes.missed {
            match excused.get_mut(without_place(mutant).as_str()) {
                Some(left @ 1..) => *left -= 1,
                _ => unexcused.push(mutant.as_str()),
            }
        }
        let missed = outcomes.missed.len() as u64;
        let all = outcomes.caught + missed;
        let percent = 100 * outcomes.caught / all.max(1);
        let figures = format!(
            "{} of {all} mutants caught ({percent} %), {} not, {} do not compile",
            outcomes.caught, missed, outcomes.unviable
        );
        if all == 0 {
            return Err("there was no mutant".to_owned());
        }
        if !unexcused.is_empty() {
            let list = unexcused.join("\n");
            return Err(format!(
                "{figures}; config/mutants.toml has no reason for {}\n{list}",
                unexcused.len()
            ));
        }
        if percent < self.least_caught_percent {
            return Err(format!("{figures}; at least {} % must be", self.least_caught_percent));
        }
        Ok(format!("{figures}, each with its reason"))
    }
}

/// `FILE: what is changed`, of `FILE:LINE:COLUMN: what is changed`.
fn without_place(mutant: &str) -> String {
    let (place, change) = mutant.split_once(": ").unwrap_or(("", mutant));
    format!("{}: {change}", place.split(':').next().unwrap_or(place))
}

/// The regular expression that only this text matches.
fn escape(text: &str) -> String {
    let escaped = |letter: char| {
        let backslash = r"\.+*?()|[]{}^$#&-~".contains(letter).then_some('\\');
        backslash.into_iter().chain([letter])
    };
    text.chars().flat_map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_is_named_by_an_expression_that_only_it_matches() {
        assert_eq!(
            escape("replace <T as A>::b -> [u8; 2] with 1+1"),
            r"replace <T as A>::b \-> \[u8; 2\] with 1\+1"
        );
        assert_eq!(escape(r"a\b.c"), r"a\\b\.c");
    }

    const ADD: &str = "src/a.rs:7:9: replace + with - in add";

    fn config(times: u64, reason: &str) -> Config {
        let excused = Excused {
            mutant: "src/a.rs: replace + with - in add".to_owned(),
            times,
            reason: reason.to_owned(),
        };
        Config { files: Vec::new(), least_caught_percent: 90, missed: vec![excused] }
    }

    fn outcomes(caught: u64, missed: &[&str]) -> Outcomes {
        Outcomes { caught, missed: missed.iter().map(|&text| text.to_owned()).collect(), unviable: 3 }
    }

    #[test]
    fn what_is_missed_must_have_a_reason_wherever_its_line_is() {
        let passed = config(1, "the same either way").judge(&outcomes(10, &[ADD])).unwrap();
        assert!(passed.starts_with("10 of 11 mutants caught (90 %), 1 not, 3 do not compile"), "{passed}");
        let other = "src/a.rs:8:1: replace - with + in add";
        let failed = config(1, "the same either way").judge(&outcomes(99, &[ADD, other])).unwrap_err();
        assert!(failed.ends_with(other), "{failed}");
        assert!(config(1, " ").judge(&outcomes(99, &[ADD])).is_err(), "a reason must say something");
    }

    #[test]
    fn a_reason_is_for_as_many_as_it_says() {
        let twice = outcomes(99, &[ADD, "src/a.rs:7:13: replace + with - in add"]);
        assert!(config(1, "x").judge(&twice).is_err());
        assert!(config(2, "x").judge(&twice).is_ok());
    }

    #[test]
    fn too_few_are_not_enough_with_any_reasons() {
        let failed = config(1, "x").judge(&outcomes(8, &[ADD])).unwrap_err();
        assert!(failed.contains("88 %"), "{failed}");
        assert!(config(1, "x").judge(&Outcomes::default()).is_err());
    }

    #[test]
    fn the_reasons_in_the_tree_can_be_read() {
        let root = crate::base::Workspace::find().unwrap().root;
        let config: Config =
            toml::from_str(&fs::read_to_string(root.join("config/mutants.toml")).unwrap()).unwrap();
        assert!(config.files.iter().all(|file| root.join(file).is_file()));
        for entry in &config.missed {
            assert!(!entry.reason.trim().is_empty(), "{}", entry.mutant);
            assert!(
                config.files.iter().any(|file| entry.mutant.starts_with(&format!("{file}: "))),
                "{entry:?}"
            );
        }
    }
}
