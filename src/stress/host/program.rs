//! A program that registers allocators, built for the host: it runs one workload on one of them, in a process of its own.
//!
//! `octopod stress --host` builds the project for the host and starts the program once for each workload, allocator and number of
//! threads. Its arguments are those of [`PartArguments`]; it writes a [`Line`] of JSON to its standard output now and then, and
//! failures to its standard error. The launcher watches it and ends it when a call of the allocator does not return.

extern crate std;

use core::fmt;
use core::time::Duration;
use std::boxed::Box;
use std::io::{self, Write};
use std::path::PathBuf;
use std::string::{String, ToString};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::vec::Vec;
use std::{eprintln, format, fs, panic, process, thread};

use serde::{Deserialize, Serialize};

use super::super::allocators::Allocator;
use super::super::heap::Heap;
use super::super::replay::{self, TraceTables};
use super::super::workloads::Workload;
use super::{Activity, Bound, HostHeapRun, HostRun, Outcome, ThreadActivity};
use crate::boot::command_line::Named;
use crate::memory::frames::{FRAME_BYTES, FRAMES_PER_BLOCK, Order};
use crate::wire::{Bucket, Stress};

/// The time between two reports of what the threads do.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// The exit status for wrong arguments.
const USAGE: i32 = 2;

/// The exit status after a panic, as of a Rust program.
const PANICKED: i32 = 101;

/// The arguments of a run, each as `name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartArguments {
    /// The name of the allocator or heap.
    pub subject: String,
    /// Whether it is a heap.
    pub is_heap: bool,
    /// The workload's name.
    pub workload: String,
    /// The number of threads.
    pub threads: usize,
    /// The size of memory, in blocks of 2 MiB.
    pub blocks: usize,
    /// The time of the workload, in microseconds.
    pub time_us: u64,
    /// The seed of the random numbers.
    pub seed: u64,
    /// Whether every frame of a run is checked.
    pub check_every_frame: bool,
    /// The largest order that the workload allocates, by number.
    pub largest_order: u8,
    /// The file with the trace that `replay` replays.
    pub trace: Option<PathBuf>,
}

impl PartArguments {
    /// The words of the command line.
    pub fn words(&self) -> Vec<String> {
        let mut words = std::vec![
            format!("{}={}", self.kind(), self.subject),
            format!("workload={}", self.workload),
            format!("threads={}", self.threads),
            format!("blocks={}", self.blocks),
            format!("time_us={}", self.time_us),
            format!("seed={}", self.seed),
            format!("check_every_frame={}", self.check_every_frame),
            format!("largest_order={}", self.largest_order),
        ];
        words.extend(self.trace.as_ref().map(|path| format!("trace={}", path.display())));
        words
    }

    /// Reads the words. Those that are left out have a default: one thread, 16 MiB, 200 ms, the seed 1.
    ///
    /// # Errors
    /// The first wrong word, or the names without a value.
    fn parse(words: impl Iterator<Item = String>) -> Result<PartArguments, String> {
        let mut part = PartArguments {
            subject: String::new(),
            is_heap: false,
            workload: String::new(),
            threads: 1,
            blocks: 8,
            time_us: 200_000,
            seed: 1,
            check_every_frame: false,
            largest_order: Order::MAX.get(),
            trace: None,
        };
        for word in words {
            let (name, value) =
                word.split_once('=').ok_or_else(|| format!("{word}: name=value is wanted"))?;
            let wrong = |error: &dyn fmt::Display| format!("{word}: {error}");
            match name {
                "allocator" | "heap" => {
                    (part.subject, part.is_heap) = (value.to_string(), name == "heap");
                }
                "workload" => part.workload = value.to_string(),
                "threads" => part.threads = value.parse().map_err(|error| wrong(&error))?,
                "blocks" => part.blocks = value.parse().map_err(|error| wrong(&error))?,
                "time_us" => part.time_us = value.parse().map_err(|error| wrong(&error))?,
                "seed" => part.seed = value.parse().map_err(|error| wrong(&error))?,
                "check_every_frame" => {
                    part.check_every_frame = value.parse().map_err(|error| wrong(&error))?;
                }
                "largest_order" => part.largest_order = value.parse().map_err(|error| wrong(&error))?,
                "trace" => part.trace = Some(value.into()),
                _ => return Err(format!("{word}: no such argument")),
            }
        }
        match part.threads > 0 && part.blocks > 0 {
            true => Ok(part),
            false => Err("threads and blocks must not be 0".to_string()),
        }
    }

    fn kind(&self) -> &'static str {
        if self.is_heap { "heap" } else { "allocator" }
    }

    /// Runs it, while another thread reads `activity`.
    fn run(&self, activity: &Activity) -> Result<Outcome, String> {
        let unknown = |choices: String| format!("{}={}: {choices}", self.kind(), self.subject);
        let workload = <&Workload>::from_name(&self.workload)
            .ok_or_else(|| format!("workload={}: {}", self.workload, choices::<&Workload>()))?;
        let (threads, bound) = (self.threads, Bound::Time(Duration::from_micros(self.time_us)));
        if self.is_heap {
            let heap = <&Heap>::from_name(&self.subject).ok_or_else(|| unknown(choices::<&Heap>()))?;
            let bytes = self.blocks * FRAMES_PER_BLOCK * FRAME_BYTES;
            let (seed, check_every_word) = (self.seed, self.check_every_frame);
            let run = HostHeapRun { heap, workload, threads, bytes, bound, seed, check_every_word };
            return Ok(run.run_watched(Some(activity)));
        }
        let allocator =
            <&Allocator>::from_name(&self.subject).ok_or_else(|| unknown(choices::<&Allocator>()))?;
        let text = match &self.trace {
            Some(path) => Some(fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?),
            None => None,
        };
        let size = text.as_deref().map(replay::measure).transpose().map_err(|error| error.to_string())?;
        let tables = size.as_ref().map(TraceTables::new);
        let trace = tables.as_ref().zip(text.as_deref()).map(|(tables, text)| tables.load(text)).transpose();
        let trace = trace.map_err(|error| error.to_string())?;
        let run = HostRun {
            allocator,
            workload,
            threads,
            blocks: self.blocks,
            bound,
            seed: self.seed,
            trace: trace.as_ref(),
            check_every_frame: self.check_every_frame,
            largest_order: Order::new(self.largest_order).unwrap_or(Order::MAX),
        };
        Ok(run.run_watched(Some(activity)))
    }
}

/// The names of a kind, for an error.
fn choices<T: Named + 'static>() -> String {
    let all = T::all().iter().chain(T::registered()).map(|one| one.name());
    format!("one of {}", all.collect::<Vec<_>>().join(", "))
}

/// A line of the standard output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// What each thread does.
    Threads(Vec<ThreadActivity>),
    /// The workload has ended.
    Ended(Box<PartResult>),
}

/// The result of a run, as [`Outcome`], with names of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartResult {
    /// The figures.
    pub figures: Stress<String>,
    /// The non-empty buckets of the latencies, in nanoseconds.
    pub buckets: Vec<Bucket>,
    /// The fragmentation scores, in tenths of a percent.
    pub scores: Vec<u16>,
    /// The operations of each thread.
    pub operations: Vec<u64>,
    /// Whether the clock has ended a round of the workload before it was complete.
    #[serde(default)]
    pub is_cut: bool,
    /// The finding of the checks, if they failed.
    pub failure: Option<String>,
}

impl From<Outcome> for PartResult {
    fn from(outcome: Outcome) -> PartResult {
        let Outcome { figures, buckets, scores, operations, is_cut, verdict } = outcome;
        let Stress { workload, allocator, kind, timed, .. } = figures;
        PartResult {
            figures: Stress {
                workload: workload.to_string(),
                allocator: allocator.to_string(),
                kind: kind.map(str::to_string),
                timed: timed.map(str::to_string),
                cpus: figures.cpus,
                operations: figures.operations,
                allocations: figures.allocations,
                refused: figures.refused,
                unsupported: figures.unsupported,
                elapsed_us: figures.elapsed_us,
                lost: figures.lost,
                double_allocated: figures.double_allocated,
                rounds: figures.rounds,
                failed_allocations: figures.failed_allocations,
                offline_cycles: figures.offline_cycles,
                scheduling: figures.scheduling,
                cycles: figures.cycles,
            },
            buckets,
            scores,
            operations,
            is_cut,
            failure: verdict.err().map(|discrepancy| discrepancy.to_string()),
        }
    }
}

/// The program on the host. Returns its exit status: 0 also if the checks found something, which the last line says.
#[doc(hidden)]
pub fn main() -> i32 {
    let mut words = std::env::args().skip(1).peekable();
    if words.peek().is_none() {
        eprintln!(
            "`octopod stress --host` starts this program for each workload. To start it by hand, for a debugger: \
             allocator=NAME (or heap=NAME) workload=NAME [threads=N] [blocks=N] [time_us=N] [seed=N]\n\
             To build the kernel instead, write into .cargo/config.toml: [build] target = \"x86_64-unknown-none\"\n\
             allocator: {}\nheap: {}\nworkload: {}",
            choices::<&Allocator>(),
            choices::<&Heap>(),
            choices::<&Workload>()
        );
        return USAGE;
    }
    // The other threads of a workload would wait for one that panics.
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        report(panic);
        process::exit(PANICKED);
    }));
    match PartArguments::parse(words).and_then(|part| run_reported(&part)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            USAGE
        }
    }
}

/// Runs a part, and writes the lines.
fn run_reported(part: &PartArguments) -> Result<(), String> {
    let activity = Activity::new(part.threads);
    let (end, ended) = channel::<()>();
    thread::scope(|scope| {
        let activity = &activity;
        scope.spawn(move || {
            while ended.recv_timeout(REPORT_EVERY) == Err(RecvTimeoutError::Timeout) {
                write(&Line::Threads(activity.threads().collect()));
            }
        });
        let ran = part.run(activity);
        drop(end);
        ran
    })
    .map(|outcome| write(&Line::Ended(Box::new(outcome.into()))))
}

/// Writes a line. If there is no reader, the process ends: its launcher has.
fn write(line: &Line) {
    let mut text = serde_json::to_string(line).expect("a line has no maps");
    text.push('\n');
    let mut out = io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        process::exit(PANICKED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part() -> PartArguments {
        PartArguments {
            subject: "locked".to_string(),
            is_heap: false,
            workload: "pairs".to_string(),
            threads: 2,
            blocks: 1,
            time_us: 0,
            seed: 7,
            check_every_frame: true,
            largest_order: 11,
            trace: None,
        }
    }

    #[test]
    fn the_words_are_read_back() {
        let with_trace = PartArguments { trace: Some("/a b/c=d".into()), ..part() };
        let of_heap = PartArguments { is_heap: true, ..part() };
        for part in [part(), with_trace, of_heap] {
            assert_eq!(PartArguments::parse(part.words().into_iter()), Ok(part));
        }
        for (word, error) in [
            ("pairs", "pairs: name=value is wanted"),
            ("colour=red", "colour=red: no such argument"),
            ("seed=0x", "seed=0x: invalid digit found in string"),
            ("threads=0", "threads and blocks must not be 0"),
        ] {
            assert_eq!(PartArguments::parse([word.to_string()].into_iter()), Err(error.to_string()));
        }
    }

    #[test]
    fn a_result_is_read_back_from_its_line() {
        let outcome = part().run(&Activity::new(2)).unwrap();
        let line = Line::Ended(Box::new(outcome.into()));
        let text = serde_json::to_string(&line).unwrap();
        assert!(!text.contains('\n'));
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
        let Line::Ended(result) = line else { unreachable!() };
        assert_eq!((result.failure, result.figures.workload.as_str()), (None, "pairs"));
        assert!(result.figures.operations > 0 && result.operations.len() == 2);
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_that_there_are() {
        let unknown = PartArguments { subject: "none".to_string(), ..part() };
        let error = unknown.run(&Activity::new(2)).unwrap_err();
        assert!(error.starts_with("allocator=none: one of octopod, magazine, locked"), "{error}");
    }
}
