//! The work of a project's program: it runs each part in a process of its own, which ends with the run.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use octopod::stress::host::program::{Line, PartArguments, PartResult};
use octopod::stress::subject::Subject;

use crate::base::process::{ProcessEvent, Stream, Streams, Supervised};
use crate::base::{Error, Message, Observer};
use crate::host::work::{Event, Part, Settings, Work};
use crate::kernel::build::HostProgram;

/// The lines of the standard error that a failure's reason may have.
const KEPT_LINES: usize = 4;

/// The beginning of Rust's report of a panic.
const PANIC: &str = "thread '";

/// The processes of a program, one after the other.
pub(crate) struct Processes {
    program: HostProgram,
    settings: Settings,
    trace: Option<PathBuf>,
    parts: Vec<Part>,
    next: usize,
    present: Option<Present>,
}

/// The process of a part.
struct Present {
    part: Part,
    child: Supervised,
    result: Option<Box<PartResult>>,
    /// The last lines of its standard error; of a panic the first ones.
    errors: VecDeque<String>,
}

impl Processes {
    pub(crate) fn new(
        program: HostProgram,
        parts: Vec<Part>,
        settings: Settings,
        trace: Option<PathBuf>,
    ) -> Processes {
        Processes { program, settings, trace, parts, next: 0, present: None }
    }

    fn words(&self, part: &Part) -> Vec<String> {
        let Settings { blocks, time, seed, check_every_frame } = self.settings;
        let arguments = PartArguments {
            subject: part.subject.name().to_owned(),
            is_heap: matches!(part.subject, Subject::Heap(_)),
            workload: part.workload.name.to_owned(),
            threads: part.threads,
            blocks,
            time_us: u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
            seed,
            check_every_frame,
            trace: self.trace.clone(),
        };
        arguments.words()
    }

    /// Starts the process of the next part.
    fn start(&mut self) -> Result<Event, Error> {
        let Some(&part) = self.parts.get(self.next) else { return Ok(Event::Nothing) };
        let mut command = Command::new(&self.program.path);
        command.args(self.words(&part));
        let child = Supervised::spawn(&mut command, Streams::default())
            .map_err(|source| Error::Program { program: self.program.path.display().to_string(), source })?;
        self.present = Some(Present { part, child, result: None, errors: VecDeque::new() });
        self.next += 1;
        Ok(Event::Begins(self.next as u32 - 1, part))
    }
}

impl Present {
    fn keep(&mut self, line: String) {
        let has_panicked = self.errors.front().is_some_and(|first| first.starts_with(PANIC));
        if line.starts_with(PANIC) && !has_panicked {
            self.errors.clear();
        }
        if self.errors.len() == KEPT_LINES {
            if has_panicked {
                return;
            }
            self.errors.pop_front();
        }
        self.errors.push_back(line);
    }

    /// The reason for which there is no result.
    fn reason(&self, status: ExitStatus) -> String {
        let end = match (status.signal(), status.code()) {
            (Some(signal), _) => format!("was ended by signal {signal}"),
            (None, Some(code)) => format!("ended with status {code}"),
            (None, None) => "ended".to_owned(),
        };
        let errors: Vec<_> = self.errors.iter().map(|line| line.trim_end()).collect();
        match errors.first() {
            None => format!("{} {end}, without a result", self.part),
            Some(first) if first.starts_with(PANIC) => {
                let words = errors.iter().take_while(|line| !line.starts_with("note: "));
                format!("{}: {}", self.part, words.copied().collect::<Vec<_>>().join(" "))
            }
            Some(_) => format!("{} {end}: {}", self.part, errors.join("; ")),
        }
    }
}

impl Work for Processes {
    fn next(&mut self, wait: Duration, observer: &mut dyn Observer) -> Result<Event, Error> {
        let Some(present) = &mut self.present else { return self.start() };
        Ok(match present.child.next(Instant::now() + wait) {
            ProcessEvent::Line(Stream::Stdout, line) => match serde_json::from_str(&line) {
                Ok(Line::Threads(threads)) => Event::Threads(threads),
                Ok(Line::Ended(result)) => {
                    present.result = Some(result);
                    Event::Nothing
                }
                // The allocator writes as well.
                Err(_) => {
                    observer.receive(Message::Tool(&line));
                    Event::Nothing
                }
            },
            ProcessEvent::Line(Stream::Stderr, line) => {
                observer.receive(Message::Tool(&line));
                present.keep(line);
                Event::Nothing
            }
            ProcessEvent::Ended(status) => {
                let event = match present.result.take() {
                    Some(result) => Event::Ended(present.part, result),
                    None => Event::Broke(present.reason(status)),
                };
                if matches!(event, Event::Ended(..)) && self.next < self.parts.len() {
                    self.present = None;
                }
                event
            }
            ProcessEvent::Interrupted => return Err(Error::Interrupted),
            ProcessEvent::Bytes(_) | ProcessEvent::Deadline => Event::Nothing,
        })
    }

    fn by_hand(&self) -> Option<String> {
        let part = self.present.as_ref()?.part;
        let program = self.program.path.display().to_string();
        let is_plain =
            |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=_-./".contains(&byte));
        let quoted = |word: String| match is_plain(&word) {
            true => Some(word),
            false => shlex::try_quote(&word).ok().map(Into::into),
        };
        let words: Option<Vec<String>> = [program].into_iter().chain(self.words(&part)).map(quoted).collect();
        words.map(|words| words.join(" "))
    }
}
