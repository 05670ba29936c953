//! `stress --host`: the kernel's workloads, checks and allocators on the host, with threads in the role of CPUs. A failure
//! there is a failure of the allocator itself, and can be debugged like any program.
//!
//! One thread does the work, and another watches it: it reports progress, enforces the time limit, and names the call in which
//! an allocator hangs. Threads cannot be cancelled, so the threads of an aborted run end with the process.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use octopod::boot::command_line::Switch;
use octopod::options::{BuiltIn, Options as KernelOptions};
use octopod::stress::host::{Activity, Bound, HostHeapRun, HostRun, Outcome as Ran};
use octopod::stress::replay::{TraceSize, TraceTables};
use octopod::stress::subject::Subject;
use octopod::stress::workloads::Workload;
use octopod::wire::{Cycles, LANES_IN_RECORD, Progress, Stress, StressCpu, cpus_per_lane};

use crate::base::interrupt::{self, Listener};
use crate::base::meminfo::available_bytes;
use crate::base::values::MemSize;
use crate::base::{Error, Message, Observer, VerdictKind};
use crate::report::Judgement;
use crate::run::clock::{RunClock, TICK};
use crate::run::{CommandLine, Seen, replay};

use crate::host::watchdog::Watchdog;

/// The time of a workload on one allocator, unless a time is given.
const DEFAULT_TIME: Duration = Duration::from_millis(200);

/// A block of the allocator's.
const BLOCK_BYTES: u64 = 2 << 20;

/// The configuration of a run on the host.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The parameters, as a kernel would have them.
    pub command_line: CommandLine,
    /// The memory that the allocators manage.
    pub mem: MemSize,
    /// Numbers of threads; if there are none, all cores, or for a comparison 1, 2, 4 and so on.
    pub threads: Vec<u32>,
    /// The trace to replay.
    pub replay: Option<PathBuf>,
    /// The time limit.
    pub limit: Duration,
    /// The seed of the random choices.
    pub seed: u64,
}

/// Refuses more memory than the host has.
fn check(mem: &MemSize) -> Result<(), Error> {
    let (asked, available) = (mem.bytes(), available_bytes().unwrap_or(u64::MAX));
    if asked <= available {
        return Ok(());
    }
    let (asked, available) = (asked >> 20, available >> 20);
    Err(Error::Usage(format!(
        "--mem asks for {asked} MiB of this host's memory, and this host has {available} MiB to give"
    )))
}

/// One workload on one allocator or heap.
#[derive(Clone, Copy, Debug)]
struct Part {
    threads: usize,
    subject: Subject,
    workload: &'static Workload,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {} with {} threads", self.workload, self.subject, self.threads)
    }
}

/// Events from the thread that does the work.
enum Said {
    /// The next part begins.
    Begins(u32, Part, Arc<Activity>),
    /// It has ended.
    Ended(Part, Box<Ran>),
    /// A signal asks for the end.
    Woken,
}

/// The parameters of the work.
struct HostRuns {
    parts: Vec<Part>,
    text: Option<(Vec<u8>, TraceSize)>,
    blocks: usize,
    time: Duration,
    seed: u64,
    check_every_frame: bool,
}

/// Runs what the options ask for. On the first thing that goes wrong it ends.
///
/// # Errors
/// Options that the kernel would refuse; a signal.
pub fn run(config: &HostConfig, observer: &mut dyn Observer) -> Result<(Judgement, Seen), Error> {
    check(&config.mem)?;
    let line = config.command_line.to_string();
    let kernel = KernelOptions::parse(line.as_bytes(), BuiltIn::NONE)
        .map_err(|error| Error::Usage(error.to_string()))?;
    let text = config.replay.as_deref().map(replay::read).transpose()?;
    let traced = text.as_ref().map_or(0, |(_, size)| size.cpus);
    let parts = plan(&config.threads, &kernel, traced);
    if let Some(part) = parts.iter().find(|part| part.threads < traced) {
        let threads = part.threads;
        return Err(Error::Usage(format!("the trace is for {traced} CPUs, but there are {threads} threads")));
    }
    let time = kernel.stress.time.map_or(DEFAULT_TIME, |time| time / parts.len().max(1) as u32);
    let seed = config.seed;
    observer.receive(Message::Note(&format!(
        "threads on this host, seed {seed:#x}, {} ms for each workload",
        time.as_millis()
    )));
    let blocks = (config.mem.bytes() / BLOCK_BYTES).max(1) as usize;
    let of = parts.len() as u32;
    let check_every_frame = kernel.stress.check_every_frame == Switch::On;
    let work = HostRuns { parts, text, blocks, time, seed, check_every_frame };
    let (sender, said) = channel();
    let woken = sender.clone();
    let _listener = Listener::new(move || drop(woken.send(Said::Woken)));
    thread::spawn(move || work.run(&sender));
    watch(&said, of, time, config.limit, observer)
}

impl HostRuns {
    /// Does all parts, one after the other, until the receiver is gone.
    fn run(&self, to: &Sender<Said>) {
        let tables = self.text.as_ref().map(|(_, size)| TraceTables::new(size));
        // It has been checked.
        let trace =
            tables.as_ref().zip(self.text.as_ref()).and_then(|(tables, (text, _))| tables.load(text).ok());
        for (index, part) in self.parts.iter().enumerate() {
            let activity = Arc::new(Activity::new(part.threads));
            if to.send(Said::Begins(index as u32, *part, activity.clone())).is_err() {
                return;
            }
            let Part { threads, subject, workload } = *part;
            let (bound, seed, check_every_frame) =
                (Bound::Time(self.time), self.seed, self.check_every_frame);
            let ran = match subject {
                Subject::Allocator(allocator) => {
                    let (blocks, trace) = (self.blocks, trace.as_ref());
                    HostRun { allocator, workload, threads, blocks, bound, seed, trace, check_every_frame }
                        .run_watched(Some(&activity))
                }
                Subject::Heap(heap) => {
                    let (bytes, check_every_word) = (self.blocks * BLOCK_BYTES as usize, check_every_frame);
                    HostHeapRun { heap, workload, threads, bytes, bound, seed, check_every_word }
                        .run_watched(Some(&activity))
                }
            };
            if to.send(Said::Ended(*part, Box::new(ran))).is_err() {
                return;
            }
        }
    }
}

/// Follows the work to its end, or ends it.
fn watch(
    said: &Receiver<Said>,
    of: u32,
    time: Duration,
    limit: Duration,
    observer: &mut dyn Observer,
) -> Result<(Judgement, Seen), Error> {
    let mut seen = Seen::default();
    let mut clock = RunClock::new(limit, Instant::now());
    let mut at: Option<(u32, Part, Watchdog, Instant)> = None;
    let mut ended = 0;
    let failed = |kind, reason: String| Judgement { kind, reason: Some(reason) };
    while ended < of {
        if interrupt::requested() {
            return Err(Error::Interrupted);
        }
        match said.recv_timeout(TICK) {
            Ok(Said::Begins(index, part, activity)) => {
                at = Some((index, part, Watchdog::new(activity), Instant::now()));
            }
            Ok(Said::Ended(part, ran)) => {
                ended += 1;
                let is_idle = ran.figures.operations == 0;
                note(&mut seen, &ran);
                if let Err(discrepancy) = ran.verdict {
                    return Ok((failed(VerdictKind::Fail, format!("{part}: {discrepancy}")), seen));
                }
                if is_idle {
                    return Ok((failed(VerdictKind::Fail, format!("{part} has done no operation")), seen));
                }
            }
            Ok(Said::Woken) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let what = at.map_or_else(|| "the stress".to_owned(), |(_, part, ..)| part.to_string());
                return Ok((failed(VerdictKind::Panic, format!("{what} panicked: see above")), seen));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let is_late = clock.left(Instant::now()).is_zero();
        let Some((index, part, watchdog, began)) = &mut at else { continue };
        observer.receive(Message::Progress(&progress(*index, of, *part, watchdog, began.elapsed(), time)));
        if let Some(hang) = watchdog.look() {
            return Ok((failed(VerdictKind::Fail, format!("{part}: {hang}")), seen));
        }
        if is_late && ended < of {
            let seconds = limit.as_secs();
            let doing = watchdog.doing();
            let reason = format!("no verdict within {seconds} s; last seen in {part}: {doing}");
            return Ok((failed(VerdictKind::Timeout, reason), seen));
        }
    }
    Ok((Judgement { kind: VerdictKind::Pass, reason: None }, seen))
}

fn progress(
    index: u32,
    of: u32,
    part: Part,
    watchdog: &Watchdog,
    elapsed: Duration,
    time: Duration,
) -> Progress<String> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let calls: Vec<u64> = watchdog.calls();
    let lanes = calls.chunks(cpus_per_lane(part.threads)).map(|lane| lane.iter().sum());
    Progress {
        workload: part.workload.to_string(),
        allocator: part.subject.to_string(),
        cpus: part.threads as u32,
        index,
        of,
        elapsed_ms: millis(elapsed),
        budget_ms: millis(time),
        operations: calls.iter().sum(),
        lanes: lanes.take(LANES_IN_RECORD).collect(),
    }
}

/// Threads, allocator or heap, and workload of each part. A trace needs as many threads as it has CPUs.
fn plan(chosen: &[u32], kernel: &KernelOptions, traced: usize) -> Vec<Part> {
    let subjects: Vec<Subject> = kernel.stress.subjects().collect();
    let cores = thread::available_parallelism().map_or(1, usize::from).max(traced);
    let threads: Vec<usize> = match chosen {
        [] if subjects.len() == 1 => vec![cores],
        [] => (0..).map(|shift| 1 << shift).take_while(|count| *count < cores).chain([cores]).collect(),
        chosen => chosen.iter().map(|count| *count as usize).collect(),
    };
    let each = threads.into_iter().flat_map(|threads| subjects.iter().map(move |one| (threads, *one)));
    let parts = |(threads, subject)| {
        // Those of the kernel alone have nothing to do here.
        let on_host = kernel.stress.workloads_of(subject).filter(|workload| workload.on_host);
        on_host.map(move |workload| Part { threads, subject, workload })
    };
    each.flat_map(parts).collect()
}

fn note(seen: &mut Seen, ran: &Ran) {
    let figures = &ran.figures;
    let share = |(cpu, operations): (usize, &u64)| StressCpu {
        workload: figures.workload.to_owned(),
        cpu: cpu as u32,
        operations: *operations,
    };
    seen.shares.push(ran.operations.iter().enumerate().map(share).collect());
    seen.latencies.push(ran.buckets.clone());
    seen.scores.push(ran.scores.clone());
    seen.stress.push(Stress {
        workload: figures.workload.to_owned(),
        allocator: figures.allocator.to_owned(),
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
        kind: figures.kind.map(str::to_owned),
        timed: figures.timed.map(str::to_owned),
        cycles: Cycles { ..figures.cycles },
    });
}

#[cfg(test)]
mod tests {
    use octopod::stress::allocators::OCTOPOD;
    use octopod::stress::workloads::PAIRS;

    use super::*;
    use crate::base::Silent;

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_that_the_host_does_not_have_is_refused() {
        let error = check(&"4000T".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("this host has"), "{error}");
        assert_eq!(error.verdict().status(), 2);
    }

    #[test]
    fn work_that_goes_on_ends_with_the_time_and_says_where() {
        let (sender, said) = channel();
        let part = Part { threads: 2, subject: Subject::Allocator(&OCTOPOD), workload: &PAIRS };
        sender.send(Said::Begins(0, part, Arc::new(Activity::new(2)))).unwrap();
        let limit = Duration::from_millis(1);
        let (judgement, _) = watch(&said, 1, limit, limit, &mut Silent).unwrap();
        assert_eq!(judgement.kind, VerdictKind::Timeout);
        let reason = judgement.reason.unwrap();
        assert!(reason.contains("last seen in pairs on octopod with 2 threads: "), "{reason}");
    }

    #[test]
    fn a_panic_of_the_work_is_reported() {
        let (sender, said) = channel();
        drop(sender);
        let limit = Duration::from_secs(60);
        let (judgement, _) = watch(&said, 1, limit, limit, &mut Silent).unwrap();
        assert_eq!(judgement.kind, VerdictKind::Panic);
    }
}
