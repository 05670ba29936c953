//! Runs cargo for a soak: in the workspace, with a log in the soak's folder, until cargo ends or Ctrl-C.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::base::cargo::{self, forget_outer_cargo};
use crate::base::process::{ProcessEvent, Streams, Supervised};
use crate::base::{Error, Message, Observer, Workspace};
use crate::commands::soak::task::{Ended, Task};
use crate::present::terminal::Console;

/// No soak takes longer.
const LIMIT: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Cargo ends its children within this.
const GRACE: Duration = Duration::from_secs(10);

/// The last lines of its standard error that are kept for an error.
const LINES_KEPT: usize = 30;

/// A command line of cargo's.
pub(crate) struct Cargo {
    command: Command,
    log: PathBuf,
}

/// The end of cargo and its output.
pub(crate) struct Ran {
    /// Its status.
    pub status: ExitStatus,
    command_line: String,
    tail: VecDeque<String>,
}

impl Cargo {
    /// The cargo that built the launcher, with these words. What it builds is kept apart from other builds, under `kind`.
    pub(crate) fn new(task: &Task<'_>, kind: &str, words: &[&str]) -> Cargo {
        Cargo::start_with(cargo::command(), task, kind, words)
    }

    /// The same with nightly Rust, which [`setup::rust`](crate::setup::rust) has provided.
    pub(crate) fn nightly(task: &Task<'_>, kind: &str, words: &[&str]) -> Cargo {
        let mut command = Command::new("rustup");
        command.args(["run", "nightly", "cargo"]);
        // It names the toolchain that the launcher was built with, perhaps by another rustup.
        command.env_remove("RUSTUP_TOOLCHAIN");
        Cargo::start_with(command, task, kind, words)
    }

    /// A program of cargo's, started by this command.
    pub(crate) fn start_with(mut command: Command, task: &Task<'_>, kind: &str, words: &[&str]) -> Cargo {
        command.args(words).current_dir(&task.workspace.root);
        forget_outer_cargo(&mut command);
        command.env("CARGO_TARGET_DIR", target(task.workspace, kind)).env("CARGO_TERM_COLOR", "never");
        Cargo { command, log: task.folder.file("cargo.log") }
    }

    /// The command itself, for what else it needs.
    pub(crate) fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Runs it to its end, telling `on_line` of each line of either stream.
    pub(crate) fn run(mut self, mut on_line: impl FnMut(&str)) -> Result<Ran, Error> {
        let words = [self.command.get_program()].into_iter().chain(self.command.get_args());
        let command_line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let open = || std::fs::File::options().create(true).append(true).open(&self.log);
        let log = open().map_err(Error::file("write", &self.log))?;
        let second = log.try_clone().map_err(Error::file("write", &self.log))?;
        let streams = Streams { stdout_log: Some(log), stderr_log: Some(second), ..Streams::default() };
        let mut child = Supervised::spawn(&mut self.command, streams)
            .map_err(|source| Error::Program { program: command_line.clone(), source })?;
        let deadline = Instant::now() + LIMIT;
        let mut tail = VecDeque::new();
        loop {
            match child.next(deadline) {
                // Not interactive.
                ProcessEvent::Bytes(_) => {}
                ProcessEvent::Line(_, line) => {
                    on_line(&line);
                    if tail.len() == LINES_KEPT {
                        tail.pop_front();
                    }
                    tail.push_back(line);
                }
                ProcessEvent::Ended(status) => return Ok(Ran { status, command_line, tail }),
                ProcessEvent::Deadline => {
                    child.end(GRACE);
                    return Err(Error::ProgramTimeout { program: command_line, limit: LIMIT });
                }
                ProcessEvent::Interrupted => {
                    child.end(GRACE);
                    return Err(Error::Interrupted);
                }
            }
        }
    }
}

impl Cargo {
    /// Runs tests to their end, and shows `step` and what they count; `passed` makes the line that reports what was done.
    pub(crate) fn test(
        self,
        step: &str,
        task: &Task<'_>,
        console: &mut Console,
        passed: impl FnOnce(&Tests) -> String,
    ) -> Result<Ended, Error> {
        console.receive(Message::Step(step));
        let mut tests = Tests::default();
        let ran = self.run(|line| {
            let is_counted = tests.read(line);
            let test = line.strip_prefix("test ").and_then(|rest| Some(rest.split_once(" ... ")?.0));
            if is_counted {
                let name = tests.counted.last().map_or("", |(_, name)| name);
                console.receive(Message::Step(&format!("test {}, {name}", tests.counted.len())));
            } else if let Some(test) = test {
                console.receive(Message::Step(&format!("test {test}")));
            }
            console.receive(Message::Tool(line));
        })?;
        tests.ended(ran, task, passed)
    }
}

impl Ran {
    /// The error for a run that did not get to what it was for.
    pub(crate) fn failed(self) -> Error {
        Error::ProgramFailed {
            program: self.command_line,
            status: self.status.to_string(),
            output: Vec::from(self.tail).join("\n"),
        }
    }
}

/// Returns the target folder of builds of this kind.
fn target(workspace: &Workspace, kind: &str) -> PathBuf {
    workspace.own().join("soak").join(kind)
}

/// The output of a test program so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tests {
    /// The number of tests that passed.
    pub passed: u64,
    /// The counts that the tests have printed, by name, in the order of the lines.
    pub counted: Vec<(u64, String)>,
    failed: Vec<String>,
    panic: Vec<String>,
    /// True if it has begun, so that what fails is a test and not the build.
    began: bool,
    in_panic: bool,
}

/// So much of the first panic is shown.
const PANIC_LINES: usize = 16;

impl Tests {
    /// Reads one line of the program's output, or of cargo's. True if it has something counted.
    pub(crate) fn read(&mut self, line: &str) -> bool {
        if line.starts_with("running ") {
            self.began = true;
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.passed += number_before(result, " passed").unwrap_or(0);
        } else if line.contains("panicked at") && self.panic.is_empty() {
            self.in_panic = true;
        } else if let Some(name) = line.strip_prefix("    ").filter(|name| self.is_test(name)) {
            self.failed.push(name.to_owned());
        }
        if self.in_panic {
            self.panic.push(line.to_owned());
            self.in_panic = self.panic.len() < PANIC_LINES && !line.starts_with("note: ");
        }
        // Behind the name of the test, where one runs at a time.
        let counted = line.find("counted ").and_then(|at| {
            let (number, rest) = line[at + "counted ".len()..].split_once(' ')?;
            Some((number.parse().ok()?, rest.to_owned()))
        });
        let is_some = counted.is_some();
        self.counted.extend(counted);
        is_some
    }

    fn is_test(&self, name: &str) -> bool {
        self.began
            && name.contains("::")
            && !name.contains(' ')
            && !self.failed.iter().any(|known| known == name)
    }

    /// The sum of what was counted under a name that begins so.
    pub(crate) fn sum(&self, what: &str) -> u64 {
        self.counted.iter().filter(|(_, name)| name.starts_with(what)).map(|(number, _)| number).sum()
    }

    /// Returns the result of the run. `passed` makes the line that reports its work.
    ///
    /// # Errors
    /// Cargo's, if there was no test to run.
    fn ended(self, ran: Ran, task: &Task<'_>, passed: impl FnOnce(&Tests) -> String) -> Result<Ended, Error> {
        if !self.began || (ran.status.success() && self.passed == 0) {
            return Err(ran.failed());
        }
        if ran.status.success() {
            return Ok(Ended::Passed(passed(&self)));
        }
        let which = if self.failed.is_empty() { ran.status.to_string() } else { self.failed.join(", ") };
        let text = [format!("failed: {which}")].into_iter().chain(self.panic).collect::<Vec<_>>().join("\n");
        Ok(Ended::Failed(text, task.folder.path.clone()))
    }
}

/// The number that stands before a word.
pub(crate) fn number_before(text: &str, word: &str) -> Option<u64> {
    text[..text.find(word)?].rsplit([' ', '\t']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Tests {
        let mut tests = Tests::default();
        for line in lines {
            tests.read(line);
        }
        tests
    }

    #[test]
    fn what_tests_have_counted_is_added_up() {
        let tests = read(&[
            "running 3 tests",
            "test a::b ... counted 70 interleavings: a::b",
            "ok",
            "counted 5 interleavings: a::c",
            "counted 9 schedules: a::d",
            "test result: ok. 3 passed; 0 failed; 0 ignored",
        ]);
        assert_eq!((tests.passed, tests.sum("interleavings"), tests.sum("schedules")), (3, 75, 9));
    }

    #[test]
    fn a_failure_has_the_tests_names_and_the_first_panic() {
        let tests = read(&[
            "running 2 tests",
            "thread 'a::b' panicked at x.rs:1:2:",
            "frame 0x3 was allocated twice",
            "note: run with `RUST_BACKTRACE=1`",
            "thread 'a::c' panicked at x.rs:7:2:",
            "failures:",
            "    a::b",
            "    a::c",
            "test result: FAILED. 0 passed; 2 failed; 0 ignored",
        ]);
        assert_eq!(tests.failed, ["a::b", "a::c"]);
        assert_eq!(tests.panic[1], "frame 0x3 was allocated twice");
        assert_eq!(tests.panic.len(), 3);
    }
}
