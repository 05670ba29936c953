//! A short-lived program, run to its end, with what it writes.

use std::collections::VecDeque;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use super::{ProcessEvent, Stream, Streams, Supervised};
use crate::base::Error;

/// Of what a short-lived program writes, so much is kept of the beginning of each stream, and of the end.
pub(super) const CAPTURED_HEAD_BYTES: usize = 256 << 10;
pub(super) const CAPTURED_TAIL_BYTES: usize = 64 << 10;

/// Bytes that a program may write that is only asked for its version or the like.
const ANSWER_BYTES: usize = 4 << 20;

/// Lines of a stream, of which the middle is left out where they are too many.
#[derive(Debug, Default)]
struct Kept {
    head: String,
    tail: VecDeque<String>,
    tail_bytes: usize,
    /// The complete output.
    bytes: usize,
}

impl Kept {
    fn push(&mut self, line: &str) {
        self.bytes += line.len() + 1;
        if self.tail.is_empty() && self.head.len() + line.len() < CAPTURED_HEAD_BYTES {
            self.head.push_str(line);
            self.head.push('\n');
            return;
        }
        self.tail_bytes += line.len() + 1;
        self.tail.push_back(line.to_owned());
        while self.tail_bytes > CAPTURED_TAIL_BYTES
            && let Some(line) = self.tail.pop_front()
        {
            self.tail_bytes -= line.len() + 1;
        }
    }

    fn text(self) -> String {
        self.tail.into_iter().fold(self.head, |text, line| text + &line + "\n")
    }
}

/// The output of a short-lived program and its exit status. Of long output, the beginning and the end.
#[derive(Debug)]
pub struct Captured {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Captured {
    /// The last `count` lines of both streams, for an error message.
    pub fn tail(&self, count: usize) -> String {
        let lines: Vec<&str> = self.stdout.lines().chain(self.stderr.lines()).collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

/// Runs `command`, which writes a short answer, to its end, or for `limit`. A program that writes without end is killed.
///
/// # Errors
/// The program cannot be started, or its output cannot be read.
pub fn capture(command: &mut Command, limit: Duration) -> Result<Captured, Error> {
    run_to_end(command, limit, Duration::from_secs(1), ANSWER_BYTES, |_| {})
}

/// Like [`capture`], but passes each line to `on_line`, and gives an interrupted program `grace` to end.
///
/// # Errors
/// The program cannot be started, or its output cannot be read.
pub fn capture_with(
    command: &mut Command,
    limit: Duration,
    grace: Duration,
    on_line: impl FnMut(&str),
) -> Result<Captured, Error> {
    run_to_end(command, limit, grace, usize::MAX, on_line)
}

fn run_to_end(
    command: &mut Command,
    limit: Duration,
    grace: Duration,
    most_bytes: usize,
    mut on_line: impl FnMut(&str),
) -> Result<Captured, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = Supervised::spawn(command, Streams::default())
        .map_err(|source| Error::Program { program: program.clone(), source })?;
    let deadline = Instant::now() + limit;
    let (mut stdout, mut stderr) = (Kept::default(), Kept::default());
    loop {
        match child.next(deadline) {
            // Not interactive.
            ProcessEvent::Bytes(_) => {}
            ProcessEvent::Line(stream, line) => {
                on_line(&line);
                let kept = if stream == Stream::Stdout { &mut stdout } else { &mut stderr };
                kept.push(&line);
                if kept.bytes > most_bytes {
                    child.end(grace);
                    return Err(Error::ProgramFloods { program, bytes: most_bytes });
                }
            }
            ProcessEvent::Ended(status) => {
                return Ok(Captured { status, stdout: stdout.text(), stderr: stderr.text() });
            }
            ProcessEvent::Deadline => {
                child.end(grace);
                return Err(Error::ProgramTimeout { program, limit });
            }
            ProcessEvent::Interrupted => {
                child.end(grace);
                return Err(Error::Interrupted);
            }
        }
    }
}
