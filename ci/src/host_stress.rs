//! `stress --host`: the kernel's workloads, checks and allocators on the host, with threads in the place of CPUs and no
//! machine around them. What is wrong there too is the allocator's fault, and can be debugged like any program.

use std::time::Duration;

use octopod::boot::command_line::{Allocator, BuiltIn, Options as KernelOptions, Workload};
use octopod::stress::host::{HostRun, Outcome as Ran};
use octopod::stress::trace::{self, Trace};
use octopod::wire::{Cycles, Progress, Stress, StressCpu};

use crate::cli::Options;
use crate::error::Error;
use crate::interrupt;
use crate::notice::{Notice, Observer};
use crate::records::Seen;
use crate::replay;
use crate::report::VerdictKind;
use crate::verdict::Judgement;

/// How long a workload takes on one allocator, if nobody says.
const DEFAULT_TIME: Duration = Duration::from_millis(200);

/// A block of the allocator's.
const BLOCK_BYTES: u64 = 2 << 20;

/// Runs what the options ask for. On the first thing that goes wrong it ends.
///
/// # Errors
/// Options that the kernel would refuse.
pub fn run(options: &Options, observer: &mut dyn Observer) -> Result<(Judgement, Seen), Error> {
    let line = options.kernel_command_line();
    let kernel = KernelOptions::parse(line.as_bytes(), BuiltIn::NONE)
        .map_err(|error| Error::KernelOption { message: error.to_string() })?;
    let text = options.replay.as_deref().map(replay::read).transpose()?;
    let tables = text.as_ref().map(|(_, size)| trace::Tables::new(size));
    // It has been checked.
    let trace = tables.as_ref().zip(text.as_ref()).and_then(|(tables, (text, _))| tables.load(text).ok());
    let runs = plan(options, &kernel, trace.as_ref());
    let traced = trace.as_ref().map_or(0, Trace::cpus);
    if let Some((threads, ..)) = runs.iter().find(|(threads, ..)| *threads < traced) {
        return Err(Error::TraceForMore { traced, threads: *threads });
    }
    let time = kernel.stress_time.map_or(DEFAULT_TIME, |time| time / runs.len().max(1) as u32);
    let seed = kernel.stress_seed.unwrap_or_else(rand_seed);
    observer.notice(Notice::Note(&format!(
        "threads on this host, seed {seed:#x}, {} ms for each workload",
        time.as_millis()
    )));
    let mut seen = Seen::default();
    for (index, (threads, allocator, workload)) in runs.iter().enumerate() {
        if interrupt::requested() {
            return Err(Error::Interrupted);
        }
        observer.notice(Notice::Progress(&Progress {
            workload: workload.to_string(),
            allocator: allocator.to_string(),
            cpus: *threads as u32,
            index: index as u32,
            of: runs.len() as u32,
            elapsed_ms: 0,
            budget_ms: time.as_millis() as u64,
            operations: 0,
            lanes: Default::default(),
        }));
        let blocks = (options.mem.bytes() / BLOCK_BYTES).max(1) as usize;
        let run = HostRun {
            allocator: *allocator,
            workload: *workload,
            threads: *threads,
            blocks,
            time,
            seed,
            trace: trace.as_ref(),
        };
        let ran = run.run();
        let place = format!("{workload} on {allocator} with {threads} threads");
        note(&mut seen, &ran);
        if let Err(discrepancy) = ran.verdict {
            let reason = format!("{place}: {discrepancy}");
            return Ok((Judgement { kind: VerdictKind::Fail, reason: Some(reason) }, seen));
        }
    }
    Ok((Judgement { kind: VerdictKind::Pass, reason: None }, seen))
}

/// Threads, allocator and workload of each run.
fn plan(
    options: &Options,
    kernel: &KernelOptions,
    trace: Option<&Trace>,
) -> Vec<(usize, Allocator, Workload)> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = trace.map_or(cores, |trace| trace.cpus().max(cores));
    let threads: Vec<usize> = match options.cpus.as_slice() {
        [] if kernel.stress_allocators.as_slice().len() == 1 => vec![cores],
        [] => (0..).map(|shift| 1 << shift).take_while(|count| *count < cores).chain([cores]).collect(),
        chosen => chosen.iter().map(|count| *count as usize).collect(),
    };
    let allocators = kernel.stress_allocators.as_slice();
    let workloads = kernel.stress_workloads.as_slice();
    let each = threads.into_iter().flat_map(|count| allocators.iter().map(move |one| (count, *one)));
    each.flat_map(|(count, one)| workloads.iter().map(move |workload| (count, one, *workload))).collect()
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
    seen.stress.push(Stress {
        workload: figures.workload.to_owned(),
        allocator: figures.allocator.to_owned(),
        cpus: figures.cpus,
        operations: figures.operations,
        elapsed_us: figures.elapsed_us,
        lost: figures.lost,
        doubled: figures.doubled,
        cycles: Cycles { ..figures.cycles },
    });
}

/// From the standard library's own source of randomness.
fn rand_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}
