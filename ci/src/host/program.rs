//! The work of a project's program: it runs each part in a process of its own, which ends with the run.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use octopod::stress::host::ThreadActivity;
use octopod::stress::host::program::{Line, PartArguments, PartResult};
use octopod::stress::subject::Subject;

use rustix::process::Signal;

use crate::base::process::{ProcessEvent, Stream, Streams, Supervised};
use crate::base::{Error, Message, Observer};
use crate::host::watchdog::doing;
use crate::host::work::{Event, Part, Settings, Work};
use crate::kernel::build::HostProgram;

/// The lines of the standard error that a failure's reason may have.
const KEPT_LINES: usize = 4;

/// The beginning of Rust's report of a panic.
const PANIC: &str = "thread '";

/// The lines that follow the message of a panic: advice, and the backtrace of `RUST_BACKTRACE=1`.
const AFTER_PANIC: [&str; 2] = ["note: ", "stack backtrace:"];

/// The signals by which faults of a program end it, and those of others.
const SIGNALS: [(Signal, &str); 7] = [
    (Signal::ILL, "SIGILL"),
    (Signal::ABORT, "SIGABRT"),
    (Signal::BUS, "SIGBUS"),
    (Signal::FPE, "SIGFPE"),
    (Signal::KILL, "SIGKILL"),
    (Signal::SEGV, "SIGSEGV"),
    (Signal::TERM, "SIGTERM"),
];

/// The processes of a program, one after the other.
pub(crate) struct Processes {
    program: HostProgram,
    settings: Settings,
    trace: Option<PathBuf>,
    parts: Vec<Part>,
    /// The parts that have begun.
    begun: usize,
    /// The process that runs; `None` after its end.
    present: Option<Present>,
}

/// The process of a part.
struct Present {
    part: Part,
    child: Supervised,
    result: Option<Box<PartResult>>,
    /// The last lines of its standard error; of a panic the first ones.
    errors: VecDeque<String>,
    /// The last report of its threads.
    threads: Vec<ThreadActivity>,
}

impl Processes {
    pub(crate) fn new(
        program: HostProgram,
        parts: Vec<Part>,
        settings: Settings,
        trace: Option<PathBuf>,
    ) -> Processes {
        Processes { program, settings, trace, parts, begun: 0, present: None }
    }

    fn words(&self, part: &Part) -> Vec<String> {
        let Settings { blocks, time, seed, check_every_frame, largest_order } = self.settings;
        let arguments = PartArguments {
            subject: part.subject.name().to_owned(),
            is_heap: matches!(part.subject, Subject::Heap(_)),
            workload: part.workload.name.to_owned(),
            threads: part.threads,
            blocks,
            time_us: u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
            seed,
            check_every_frame,
            largest_order: largest_order.get(),
            trace: self.trace.clone(),
        };
        arguments.words()
    }

    /// Starts the process of the next part.
    fn start(&mut self) -> Result<Event, Error> {
        let Some(&part) = self.parts.get(self.begun) else { return Ok(Event::Nothing) };
        let mut command = Command::new(&self.program.path);
        command.args(self.words(&part));
        let child = Supervised::spawn(&mut command, Streams::default())
            .map_err(|source| Error::Program { program: self.program.path.display().to_string(), source })?;
        self.present =
            Some(Present { part, child, result: None, errors: VecDeque::new(), threads: Vec::new() });
        self.begun += 1;
        Ok(Event::Begins(self.begun as u32 - 1, part))
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
            (Some(signal), _) => {
                let name = SIGNALS.iter().find(|(known, _)| known.as_raw() == signal);
                let name = name.map_or(String::new(), |(_, name)| format!(" ({name})"));
                let seen = match self.threads.is_empty() {
                    true => String::new(),
                    false => format!(", last seen with {}", doing(&self.threads)),
                };
                format!("was ended by signal {signal}{name}{seen}")
            }
            (None, Some(code)) => format!("ended with status {code}"),
            (None, None) => "ended".to_owned(),
        };
        let errors: Vec<_> = self.errors.iter().map(|line| line.trim_end()).collect();
        match errors.first() {
            None => format!("{} {end}, without a result", self.part),
            Some(first) if first.starts_with(PANIC) => {
                let words =
                    errors.iter().take_while(|line| !AFTER_PANIC.iter().any(|next| line.starts_with(next)));
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
                Ok(Line::Threads(threads)) => {
                    present.threads.clone_from(&threads);
                    Event::Threads(threads)
                }
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
                self.present = None;
                event
            }
            ProcessEvent::Interrupted => return Err(Error::Interrupted),
            ProcessEvent::Bytes(_) | ProcessEvent::Deadline => Event::Nothing,
        })
    }

    fn by_hand(&self) -> Option<String> {
        let part = self.parts.get(self.begun.checked_sub(1)?)?;
        let program = self.program.path.display().to_string();
        let is_plain =
            |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=_-./".contains(&byte));
        let quoted = |word: String| match is_plain(&word) {
            true => Some(word),
            false => shlex::try_quote(&word).ok().map(Into::into),
        };
        let words: Option<Vec<String>> = [program].into_iter().chain(self.words(part)).map(quoted).collect();
        words.map(|words| words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use octopod::boot::command_line::Named;
    use octopod::memory::frames::Order;
    use octopod::stress::allocators::OCTOPOD;
    use octopod::stress::workloads::{PAIRS, Workload};

    use super::*;
    use crate::base::Silent;
    use crate::base::test_program::write_script;
    use crate::report::sample;

    fn next(work: &mut Processes) -> Event {
        loop {
            match work.next(Duration::from_secs(60), &mut Silent).unwrap() {
                Event::Nothing => {}
                event => return event,
            }
        }
    }

    /// The reason that the part of a script has.
    fn reason_of(script: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        write_script(&path, script);
        let parts = vec![Part { threads: 1, subject: Subject::Allocator(&OCTOPOD), workload: &PAIRS }];
        let mut work = Processes::new(HostProgram::of(path), parts, SETTINGS, None);
        loop {
            if let Event::Broke(reason) = next(&mut work) {
                return reason;
            }
        }
    }

    #[test]
    fn a_signal_is_named_with_the_calls_and_a_panic_without_its_backtrace() {
        let call = Some(octopod::stress::host::Call::Alloc(Order::FRAME));
        let threads = Line::Threads(vec![ThreadActivity { call, calls: 7 }]);
        let line = serde_json::to_string(&threads).unwrap();
        assert_eq!(
            reason_of(&format!("echo '{line}'; kill -SEGV $$")),
            "pairs on octopod with 1 thread was ended by signal 11 (SIGSEGV), last seen with thread 0 in call 7 \
             (alloc of order 0), without a result"
        );
        assert_eq!(
            reason_of("kill -ABRT $$"),
            "pairs on octopod with 1 thread was ended by signal 6 (SIGABRT), without a result"
        );
        for after in ["stack backtrace:\n   0: __rustc::rust_begin_unwind", "note: run with"] {
            let script =
                format!("printf \"thread 'cpu 0' panicked at a.rs:1:1:\nno more\n{after}\n\" >&2; exit 101");
            let expected = "pairs on octopod with 1 thread: thread 'cpu 0' panicked at a.rs:1:1: no more";
            assert_eq!(reason_of(&script), expected);
        }
    }

    const SETTINGS: Settings = Settings {
        blocks: 1,
        time: Duration::ZERO,
        seed: 7,
        check_every_frame: false,
        largest_order: Order::MAX,
    };

    #[test]
    fn the_last_part_is_named_after_its_process_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        // Two parts have results, the last one has none.
        let result = PartResult {
            figures: sample::stress("bulk", "octopod", 1),
            buckets: Vec::new(),
            scores: Vec::new(),
            operations: Vec::new(),
            is_cut: false,
            failure: None,
        };
        let line = serde_json::to_string(&Line::Ended(Box::new(result))).unwrap();
        write_script(&path, &format!("case $* in *workload=remote*) exit 7;; esac\necho '{line}'"));
        let [bulk, remote] = ["bulk", "remote"].map(|name| <&Workload>::from_name(name).unwrap());
        let subject = Subject::Allocator(&OCTOPOD);
        let parts: Vec<_> =
            [bulk, &PAIRS, remote].map(|workload| Part { threads: 1, subject, workload }).into();
        let mut work = Processes::new(HostProgram::of(path.clone()), parts, SETTINGS, None);
        assert_eq!(work.by_hand(), None);
        for (index, name) in ["bulk", "pairs", "remote"].into_iter().enumerate() {
            let begins = next(&mut work);
            assert!(matches!(begins, Event::Begins(at, _) if at as usize == index), "{begins:?}");
            match (name, next(&mut work)) {
                ("remote", Event::Broke(reason)) => assert!(reason.contains("status 7"), "{reason}"),
                ("bulk" | "pairs", Event::Ended(part, _)) => assert_eq!(part.workload.name, name),
                (_, event) => panic!("{name}: {event:?}"),
            }
            let by_hand = work.by_hand().unwrap();
            let expected = format!("{} allocator=octopod workload={name} threads=1 ", path.display());
            assert!(by_hand.starts_with(&expected), "{by_hand}");
        }
        // There are no more parts, and no ended process is asked.
        let after = work.next(Duration::ZERO, &mut Silent).unwrap();
        assert!(matches!(after, Event::Nothing), "{after:?}");
    }
}
