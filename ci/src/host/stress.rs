//! `stress --host`: the kernel's workloads, checks and allocators on the host, with threads in the role of CPUs. A failure
//! there is a failure of the allocator itself, and can be debugged like any program.
//!
//! The work is done elsewhere, by threads of this process or by a project's program, and is watched here: progress is reported, the time
//! limit is enforced, and the call in which an allocator hangs is named.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use octopod::boot::command_line::Switch;
use octopod::options::{BuiltIn, Options as KernelOptions};
use octopod::stress::host::ROUND_CUT;
use octopod::stress::host::program::PartResult;
use octopod::stress::subject::Subject;
use octopod::wire::{LANES_IN_RECORD, Progress, StressCpu, cpus_per_lane};

use crate::base::interrupt;
use crate::base::meminfo::available_bytes;
use crate::base::values::MemSize;
use crate::base::{Error, Message, Observer, VerdictKind, text};
use crate::host::program::Processes;
use crate::host::threads::Threads;
use crate::host::watchdog::Watchdog;
use crate::host::work::{BLOCK_BYTES, Event, Part, Settings, Work};
use crate::kernel::build::HostProgram;
use crate::report::Judgement;
use crate::run::clock::{RunClock, TICK};
use crate::run::{CommandLine, Seen, replay};

/// The time of a workload on one allocator, unless a time is given.
const DEFAULT_TIME: Duration = Duration::from_millis(200);

/// The least time that the threads have until the first report of their activity, from which on the time limit counts: a busy
/// host may take long to start a program.
const START_LIMIT: Duration = Duration::from_secs(60);

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
    /// The program of a project that runs the allocators; `None` if this process does.
    pub program: Option<HostProgram>,
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
    let mut parts = plan(&config.threads, &kernel, traced);
    if config.program.is_some() {
        // A program runs its own allocators and heaps.
        let all = parts.len();
        parts.retain(|part| !matches!(part.subject, Subject::Scheduler(_)));
        if parts.len() < all {
            observer
                .receive(Message::Note("workloads of the scheduler do not run in a project's own program"));
        }
    }
    if config.command_line.names_workloads()
        && let Some(names) = kernels_alone(&kernel)
    {
        if parts.is_empty() {
            return Err(Error::Usage(format!("none of these workloads runs on the host: {names}")));
        }
        observer.receive(Message::Note(&format!("not on the host: {names}")));
    }
    if parts.is_empty() {
        return Err(Error::Usage("none of these workloads runs on the host".to_owned()));
    }
    if let Some(part) = parts.iter().find(|part| part.threads < traced) {
        let (cpus, threads) = (text::count(traced, "CPU"), text::count(part.threads, "thread"));
        return Err(Error::Usage(format!("the trace is for {cpus}, but the work has {threads}")));
    }
    let time = kernel.stress.time.map_or(DEFAULT_TIME, |time| time / parts.len().max(1) as u32);
    let seed = config.seed;
    observer.receive(Message::Note(&format!(
        "threads on this host, seed {seed:#x}, {} ms for each workload",
        time.as_millis()
    )));
    let blocks = (config.mem.bytes() / BLOCK_BYTES as u64).max(1) as usize;
    let of = parts.len() as u32;
    let check_every_frame = kernel.stress.check_every_frame == Switch::On;
    let largest_order = kernel.stress.largest_order.order();
    let settings = Settings { blocks, time, seed, check_every_frame, largest_order };
    let mut work: Box<dyn Work> = match &config.program {
        Some(program) => Box::new(Processes::new(program.clone(), parts, settings, config.replay.clone())),
        None => Box::new(Threads::start(parts, settings, text)),
    };
    let watched = watch(work.as_mut(), of, time, config.limit, observer);
    if watched.as_ref().is_ok_and(|(judgement, _)| judgement.kind != VerdictKind::Pass)
        && let Some(line) = work.by_hand()
    {
        observer.receive(Message::Note(&format!("by hand, for a debugger: {line}")));
    }
    watched
}

/// Follows the work to its end, or ends it.
fn watch(
    work: &mut dyn Work,
    of: u32,
    time: Duration,
    limit: Duration,
    observer: &mut dyn Observer,
) -> Result<(Judgement, Seen), Error> {
    let mut seen = Seen::default();
    let start_limit = limit.max(START_LIMIT);
    let mut clock = RunClock::new(start_limit, Instant::now());
    let mut at: Option<(u32, Part, Watchdog, Instant)> = None;
    let (mut ended, mut is_working) = (0, false);
    let failed = |kind, reason: String| Judgement { kind, reason: Some(reason) };
    while ended < of {
        if interrupt::requested() {
            return Err(Error::Interrupted);
        }
        let mut hang = None;
        match work.next(TICK, observer)? {
            Event::Begins(index, part) => at = Some((index, part, Watchdog::new(), Instant::now())),
            Event::Threads(threads) => {
                if !is_working {
                    is_working = true;
                    clock = RunClock::new(limit, Instant::now());
                }
                hang = at.as_mut().and_then(|(_, _, watchdog, _)| watchdog.look(threads));
            }
            Event::Ended(part, result) => {
                ended += 1;
                let is_idle = result.figures.operations == 0 && result.figures.unsupported == 0;
                if result.is_cut {
                    observer.receive(Message::Note(&format!("{part}: {ROUND_CUT}")));
                }
                let failure = result.failure.clone();
                note(&mut seen, *result);
                if let Some(discrepancy) = failure {
                    return Ok((failed(VerdictKind::Fail, format!("{part}: {discrepancy}")), seen));
                }
                if is_idle {
                    return Ok((failed(VerdictKind::Fail, format!("{part} has done no operation")), seen));
                }
            }
            Event::Broke(reason) => return Ok((failed(VerdictKind::Panic, reason), seen)),
            Event::Nothing => {}
        }
        let is_late = clock.left(Instant::now()).is_zero();
        let Some((index, part, watchdog, began)) = &mut at else { continue };
        observer.receive(Message::Progress(&progress(*index, of, *part, watchdog, began.elapsed(), time)));
        if let Some(hang) = hang {
            return Ok((failed(VerdictKind::Fail, format!("{part}: {hang}")), seen));
        }
        if is_late && ended < of {
            let seconds = if is_working { limit } else { start_limit }.as_secs();
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
        [] if !kernel.stress.compares_subjects() => vec![cores],
        [] => (0..).map(|shift| 1 << shift).take_while(|count| *count < cores).chain([cores]).collect(),
        chosen => chosen.iter().map(|count| *count as usize).collect(),
    };
    let each = threads.into_iter().flat_map(|threads| subjects.iter().map(move |one| (threads, *one)));
    let parts = |(threads, subject)| {
        // `run` notes those of the kernel alone.
        let on_host = kernel.stress.workloads_of(subject).filter(|workload| workload.on_host);
        on_host.map(move |workload| Part { threads, subject, workload })
    };
    each.flat_map(parts).collect()
}

/// The names of the workloads that run in the kernel alone, or `None` if there are none.
fn kernels_alone(kernel: &KernelOptions) -> Option<String> {
    let alone = kernel.stress.workloads.iter().filter(|workload| !workload.on_host);
    let names: Vec<_> = alone.map(|workload| workload.name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn note(seen: &mut Seen, result: PartResult) {
    let workload = &result.figures.workload;
    let share = |(cpu, operations): (usize, &u64)| StressCpu {
        workload: workload.clone(),
        cpu: cpu as u32,
        operations: *operations,
    };
    seen.shares.push(result.operations.iter().enumerate().map(share).collect());
    seen.latencies.push(result.buckets);
    seen.scores.push(result.scores);
    seen.stress.push(result.figures);
}

#[cfg(test)]
mod tests {
    use octopod::stress::allocators::OCTOPOD;
    use octopod::stress::host::{Call, ThreadActivity};
    use octopod::stress::workloads::PAIRS;

    use super::*;
    use crate::base::Silent;
    use crate::host::watchdog::LOOKS;

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_that_the_host_does_not_have_is_refused() {
        let error = check(&"4000T".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("this host has"), "{error}");
        assert_eq!(error.verdict().status(), 2);
    }

    /// For each line of parameters, whether its workloads run on one number of threads, where there are several cores.
    #[test]
    fn only_a_comparison_runs_on_several_numbers_of_threads() {
        let is_alone = |line: &str| {
            let kernel = KernelOptions::parse(line.as_bytes(), BuiltIn::NONE).unwrap();
            let parts = plan(&[], &kernel, 4);
            assert!(!parts.is_empty());
            parts.iter().all(|part| part.threads == parts[0].threads)
        };
        // By default one allocator, and one heap.
        for line in ["", "stress.workloads=pairs", "stress.workloads=heap_pairs stress.heaps=talc"] {
            assert!(is_alone(line), "{line}");
        }
        for line in
            ["stress.allocators=octopod,locked", "stress.workloads=heap_pairs stress.heaps=octopod,talc"]
        {
            assert!(!is_alone(line), "{line}");
        }
    }

    /// Keeps the notes.
    #[derive(Default)]
    struct Notes(Vec<String>);

    impl Observer for Notes {
        fn receive(&mut self, message: Message<'_>) {
            if let Message::Note(note) = message {
                self.0.push(note.to_owned());
            }
        }
    }

    /// A run with these parameters, and its notes.
    fn run_with(parameters: &str) -> (Result<(Judgement, Seen), Error>, Vec<String>) {
        let own = parameters.split(' ').map(str::to_owned).collect();
        let config = HostConfig {
            command_line: CommandLine { own, appended: Vec::new() },
            mem: "4M".parse().unwrap(),
            threads: vec![1],
            replay: None,
            program: None,
            limit: Duration::from_secs(600),
            seed: 7,
        };
        let mut notes = Notes::default();
        (run(&config, &mut notes), notes.0)
    }

    #[test]
    fn workloads_of_the_kernel_alone_are_noted_or_refused() {
        let (refused, _) = run_with("stress.seconds=0.001 stress.workloads=mappings");
        let error = refused.unwrap_err();
        assert_eq!(error.to_string(), "none of these workloads runs on the host: mappings");
        assert_eq!(error.verdict().status(), 2);

        let (ran, notes) = run_with("stress.seconds=0.001 stress.workloads=mappings,pairs");
        let (judgement, seen) = ran.unwrap();
        assert_eq!((judgement.kind, seen.stress.len()), (VerdictKind::Pass, 1));
        assert!(notes.contains(&"not on the host: mappings".to_owned()), "{notes:?}");

        // The defaults contain it, and no user has named it.
        for parameters in ["stress.seconds=0.001", "stress.seconds=0.001 stress.workloads=pairs"] {
            let (ran, notes) = run_with(parameters);
            assert_eq!(ran.unwrap().0.kind, VerdictKind::Pass);
            assert!(notes.iter().all(|note| !note.contains("not on the host")), "{notes:?}");
        }
    }

    /// Work with given events, and then none.
    struct Given<I>(I);

    impl<I: Iterator<Item = Event>> Work for Given<I> {
        fn next(&mut self, _: Duration, _: &mut dyn Observer) -> Result<Event, Error> {
            Ok(self.0.next().unwrap_or(Event::Nothing))
        }
    }

    fn judge(limit: Duration, events: impl IntoIterator<Item = Event>) -> Judgement {
        watch(&mut Given(events.into_iter()), 1, limit, limit, &mut Silent).unwrap().0
    }

    const PART: Part = Part { threads: 2, subject: Subject::Allocator(&OCTOPOD), workload: &PAIRS };

    fn threads(calls: u64) -> Event {
        let call = Call::Alloc(octopod::memory::frames::Order::FRAME);
        let working = ThreadActivity { call: None, calls: 2 * calls };
        Event::Threads(vec![working, ThreadActivity { call: Some(call), calls }])
    }

    #[test]
    fn work_that_goes_on_ends_with_the_time_and_says_where() {
        let judgement = judge(Duration::from_millis(1), [Event::Begins(0, PART), threads(7)]);
        assert_eq!(judgement.kind, VerdictKind::Timeout);
        let reason = judgement.reason.unwrap();
        assert!(reason.starts_with("no verdict within 0 s; last seen in pairs on octopod with 2 threads: "));
    }

    #[test]
    fn the_time_to_start_the_threads_does_not_count() {
        let starting = std::iter::repeat_with(|| {
            thread::sleep(Duration::from_millis(1));
            Event::Nothing
        });
        let events = [Event::Begins(0, PART)].into_iter().chain(starting.take(20));
        let judgement = judge(Duration::from_millis(1), events.chain([Event::Broke("the end".to_owned())]));
        assert_eq!((judgement.kind, judgement.reason.as_deref()), (VerdictKind::Panic, Some("the end")));
    }

    #[test]
    fn a_thread_that_stays_in_a_call_hangs_and_one_that_calls_again_does_not() {
        let limit = Duration::from_secs(3600);
        let works = (0..200).map(threads).chain([Event::Broke("the end".to_owned())]);
        let judgement = judge(limit, [Event::Begins(0, PART)].into_iter().chain(works));
        assert_eq!((judgement.kind, judgement.reason.as_deref()), (VerdictKind::Panic, Some("the end")));
        let hangs = (0..=LOOKS).map(|_| threads(9));
        let judgement = judge(limit, [Event::Begins(0, PART)].into_iter().chain(hangs));
        assert_eq!(judgement.kind, VerdictKind::Fail);
        let reason =
            "pairs on octopod with 2 threads: thread 1 hangs in an alloc of order 0, its call number 9";
        assert_eq!(judgement.reason.as_deref(), Some(reason));
    }
}
