//! The log: eight CPUs write lines while each strikes the next by NMIs that log as well; then NMIs strike the very CPU that
//! holds the console, more of them than lines can be kept. Every line is accounted for. That none was torn is seen by who
//! reads them.

use core::fmt;

use crate::config::{IPI_CALL_TIMEOUT_MS, STRESS_GRACE_MS};
use crate::console::deferred::MAX_DEFERRED;
use crate::console::{self, Lines};
use crate::cpu::{self, CpuId};
use crate::smp::{self, BacktraceError, Cpu};
use crate::sync::{Deadline, SpinLockIrq};

use super::nmis;

/// So many CPUs log at once.
const MOST_CPUS: usize = 8;

/// Lines of each.
const LINES: u64 = 25;

/// NMIs for whose lines there is no room.
const TOO_MANY: u64 = 6;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A CPU did not take an NMI.
    NoNmi {
        /// The CPU.
        cpu: CpuId,
    },
    /// A CPU could not be sent an NMI.
    NotSent {
        /// The CPU.
        cpu: CpuId,
        /// Why not.
        error: BacktraceError,
    },
    /// Other lines were counted than were logged.
    Count {
        /// How many were logged.
        logged: u64,
        /// What was counted meanwhile.
        counted: Lines,
    },
    /// While the console was held, other lines were kept and lost than should.
    Held {
        /// What was counted.
        counted: Lines,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let counts = |f: &mut fmt::Formatter, Lines { written, waiting, lost }: Lines| {
            write!(f, "{written} lines written, {waiting} waiting and {lost} lost")
        };
        match *self {
            Failure::NoNmi { cpu } => write!(f, "cpu {cpu} has not taken an NMI in {IPI_CALL_TIMEOUT_MS} ms"),
            Failure::NotSent { cpu, error } => write!(f, "no NMI to cpu {cpu}: {error}"),
            Failure::Count { logged, counted } => {
                counts(f, counted)?;
                write!(f, " of {logged}")
            }
            Failure::Held { counted } => {
                counts(f, counted)?;
                write!(f, " by {} NMIs while the console was held", MAX_DEFERRED as u64 + TOO_MANY)
            }
        }
    }
}

static FIRST: SpinLockIrq<Option<Failure>> = SpinLockIrq::new(None);
crate::name_lock!(FIRST);

/// What each NMI of this part does.
fn log_line() {
    log::info!("NMI {} on cpu {}, from end to end", nmis::handled_here(), cpu::current());
}

/// Runs the part. Only the boot processor calls this, with interrupts on, when all CPUs wait for work.
///
/// # Errors
/// The first failure.
pub fn run(_: u32) -> Result<(), Failure> {
    let logged = nmis::with_handler(log_line, || {
        let logged = all_at_once()?;
        while_held().map(|()| logged)
    })?;
    log::info!("{logged} lines by {} CPUs and their NMIs, each written or counted", loggers().count());
    Ok(())
}

fn loggers() -> impl Iterator<Item = &'static Cpu> + Clone {
    smp::online().take(MOST_CPUS)
}

/// How many lines were logged.
fn all_at_once() -> Result<u64, Failure> {
    let lines_before = console::lines();
    let nmis_before: u64 = loggers().map(nmis::handled).sum();
    super::on_each_cpu(STRESS_GRACE_MS, &|cpu| {
        let Some(rank) = cpu.rank().filter(|rank| *rank < MOST_CPUS) else { return };
        for line in 0..LINES {
            if let Some(next) = loggers().cycle().nth(rank + 1)
                && let Err(failure) = strike(next)
            {
                FIRST.lock().get_or_insert(failure);
                return;
            }
            log::info!("line {line} of cpu {}, from end to end", cpu.id());
        }
    });
    if let Some(failure) = *FIRST.lock() {
        return Err(failure);
    }
    loggers().try_for_each(wait_for)?;
    let nmis = loggers().map(nmis::handled).sum::<u64>() - nmis_before;
    let logged = nmis + LINES * loggers().count() as u64;
    let counted = since(lines_before);
    if counted == (Lines { written: logged, waiting: 0, lost: 0 }) {
        Ok(logged)
    } else {
        Err(Failure::Count { logged, counted })
    }
}

/// NMIs strike the CPU that holds the console: as many lines as there is room for come out afterwards, the rest is counted.
fn while_held() -> Result<(), Failure> {
    let before = console::lines();
    let me = smp::online().next();
    let held = console::with_lock(|| {
        for _ in 0..MAX_DEFERRED as u64 + TOO_MANY {
            let Some(me) = me else { continue };
            strike(me).and_then(|()| wait_for(me))?;
        }
        Ok(since(before))
    })?;
    if held != (Lines { written: 0, waiting: MAX_DEFERRED as u64, lost: TOO_MANY }) {
        return Err(Failure::Held { counted: held });
    }
    // And one that says how many were lost.
    let after = since(before);
    if after != (Lines { written: MAX_DEFERRED as u64 + 1, waiting: 0, lost: TOO_MANY }) {
        return Err(Failure::Held { counted: after });
    }
    Ok(())
}

/// Sends an NMI to a CPU, when it has handled the one before.
fn strike(cpu: &'static Cpu) -> Result<(), Failure> {
    wait_for(cpu)?;
    nmis::send(cpu).map_err(|error| Failure::NotSent { cpu: cpu.id(), error })
}

/// Waits until a CPU has handled all NMIs of this part.
fn wait_for(cpu: &'static Cpu) -> Result<(), Failure> {
    Deadline::after_ms(IPI_CALL_TIMEOUT_MS)
        .wait_until(|| nmis::is_idle(cpu))
        .map_err(|_| Failure::NoNmi { cpu: cpu.id() })
}

fn since(before: Lines) -> Lines {
    let now = console::lines();
    Lines { written: now.written - before.written, waiting: now.waiting, lost: now.lost - before.lost }
}
