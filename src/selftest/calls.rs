//! Calls between CPUs: each runs exactly once, on the CPU that it was meant for, with interrupts off there, whatever the
//! callers do at the same time. Nothing here looks at a clock: counts must come out even. Before that: work for all CPUs is
//! refused where it must be.

use core::cell::Cell;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::Meeting;
use crate::config::{IPI_CALL_TIMEOUT_MS, STRESS_GRACE_MS};
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{self, CpuId, CpuSet, IrqGuard};
use crate::per_cpu;
use crate::smp::{self, CALL_DEPTH, CALLS_TO_SELF, CallError, Cpu, WorkError};
use crate::sync::{Deadline, SpinLockIrq};

/// What a round may take beyond that, when there are many more CPUs than the host has cores for.
const ROUND_MS: u64 = 20;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A call came back with an error.
    Call {
        /// The caller.
        cpu: CpuId,
        /// The error.
        error: CallError,
    },
    /// A CPU did not run as many calls as it was sent.
    Count {
        /// The CPU.
        cpu: CpuId,
        /// How many it ran.
        ran: u64,
        /// How many were sent.
        sent: u64,
    },
    /// A call returned before all had run it, or was run more often.
    Returned {
        /// The caller.
        cpu: CpuId,
        /// How many ran it.
        ran: u32,
        /// How many should have.
        targets: u32,
    },
    /// A call ran where or when it should not have.
    Misplaced {
        /// Where.
        cpu: CpuId,
        /// What is wrong with that.
        what: &'static str,
    },
    /// Work for all CPUs was given where it must be refused, or for another reason.
    WorkNotRefused {
        /// By which CPU.
        cpu: CpuId,
        /// What came of it.
        outcome: Result<(), WorkError>,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Call { cpu, error } => write!(f, "a call of cpu {cpu}'s: {error}"),
            Failure::Count { cpu, ran, sent } => write!(f, "cpu {cpu} ran {ran} calls of {sent}"),
            Failure::Returned { cpu, ran, targets } => {
                write!(f, "a call of cpu {cpu}'s to {targets} CPUs had run {ran} times when it returned")
            }
            Failure::Misplaced { cpu, what } => write!(f, "a call ran on cpu {cpu} {what}"),
            Failure::WorkNotRefused { cpu, outcome: Ok(()) } => {
                write!(f, "cpu {cpu} gave work to all CPUs where that must be refused")
            }
            Failure::WorkNotRefused { cpu, outcome: Err(error) } => {
                write!(f, "work of cpu {cpu} was refused for another reason: {error}")
            }
        }
    }
}

per_cpu! {
    /// Calls that this CPU has run.
    static RAN: AtomicU64 = AtomicU64::new(0);
    /// Calls that were sent to it, noted by the senders.
    static SENT: AtomicU64 = AtomicU64::new(0);
    /// Calls to this CPU itself that it has run.
    static OWN: Cell<u32> = Cell::new(0);
}

static FIRST: SpinLockIrq<Option<Failure>> = SpinLockIrq::new(None);
crate::name_lock!(FIRST);

/// Runs the part with `rounds` rounds in all. Only the boot processor calls this, with interrupts on, when all CPUs wait
/// for work.
///
/// # Errors
/// The first failure.
pub fn run(rounds: u32) -> Result<(), Failure> {
    // Before anything waits for work to end: a CPU that does not answer at all is found here.
    smp::call(&smp::all_online(), &|| {}).map_err(|error| Failure::Call { cpu: CpuId::BSP, error })?;
    refused()?;
    work_is_refused()?;
    let online = smp::online().count() as u32;
    let each = rounds.div_ceil(online);
    let meeting = Meeting::new(online);
    let interrupts_before = totals();
    super::on_each_cpu(STRESS_GRACE_MS + u64::from(rounds) * ROUND_MS, &|cpu| {
        let me = cpu.id();
        let outcome = to_itself(me)
            .and_then(|()| all_to_all(me, each))
            .and_then(|()| crossing(me, &meeting, each / 16 + 1))
            .and_then(|()| nested(me, &meeting, cpu.rank().unwrap_or(0), each / 16 + 1));
        if let Err(failure) = outcome {
            FIRST.lock().get_or_insert(failure);
            meeting.call_off();
        }
    });
    let first = *FIRST.lock();
    if let Some(failure) = first {
        return Err(failure);
    }
    come_out_even()?;
    let (calls, interrupts) = totals();
    log::info!(
        "{rounds} rounds of calls among {online} CPUs: {} calls by {} interrupts",
        calls - interrupts_before.0,
        interrupts - interrupts_before.1
    );
    Ok(())
}

/// Work for all CPUs is refused with interrupts off, and inside other work on whichever CPU; none of it is run. After that,
/// work is run once on each CPU.
fn work_is_refused() -> Result<(), Failure> {
    let ran = AtomicU32::new(0);
    let count = |_: &'static Cpu| {
        ran.fetch_add(1, Ordering::Relaxed);
    };
    let expect = |cpu, outcome, expected| match outcome == Err(expected) {
        true => Ok(()),
        false => Err(Failure::WorkNotRefused { cpu, outcome }),
    };
    let outcome = {
        let _guard = IrqGuard::new();
        smp::on_each_cpu(STRESS_GRACE_MS, &count)
    };
    expect(CpuId::BSP, outcome, WorkError::InterruptsOff)?;
    let first = SpinLockIrq::new(Ok(()));
    super::on_each_cpu(STRESS_GRACE_MS, &|cpu| {
        let outcome = smp::on_each_cpu(STRESS_GRACE_MS, &count);
        if let Err(failure) = expect(cpu.id(), outcome, WorkError::Busy { by: CpuId::BSP }) {
            *first.lock() = Err(failure);
        }
    });
    let first = *first.lock();
    first?;
    let targets = smp::online().count() as u32;
    super::on_each_cpu(STRESS_GRACE_MS, &count);
    match ran.into_inner() {
        ran if ran == targets => Ok(()),
        ran => Err(Failure::Returned { cpu: CpuId::BSP, ran, targets }),
    }
}

/// Calls and interrupts of all CPUs so far.
fn totals() -> (u64, u64) {
    let each = smp::online().filter_map(|cpu| cpu.gs_base()).map(|gs_base| {
        // SAFETY: a CPU's GS base is that of an area that lives for good.
        unsafe { smp::answered(gs_base) }
    });
    each.fold((0, 0), |sum, cpu| (sum.0 + cpu.0, sum.1 + cpu.1))
}

/// A CPU that is not there is an error, and the rest of the call is run.
fn refused() -> Result<(), Failure> {
    let nobody = CpuId(smp::cpus().len() as u32);
    let ran = AtomicU32::new(0);
    let targets = [CpuId::BSP, nobody].into_iter().collect();
    let outcome = smp::call(&targets, &|| {
        ran.fetch_add(1, Ordering::Relaxed);
    });
    match (outcome, ran.into_inner()) {
        (Err(CallError::Offline { first }), 1) if first == nobody => Ok(()),
        (Err(error), 1) => Err(Failure::Call { cpu: CpuId::BSP, error }),
        (_, ran) => Err(Failure::Returned { cpu: CpuId::BSP, ran, targets: 1 }),
    }
}

/// More calls to itself than there is room for: none is run before interrupts are on or room is needed, and none is lost.
fn to_itself(me: CpuId) -> Result<(), Failure> {
    fn count(_: usize) {
        OWN.set(OWN.get() + 1);
    }
    let before = OWN.get();
    let guard = IrqGuard::new();
    for index in 0..2 * CALLS_TO_SELF {
        smp::call_self(count, 0).map_err(|error| Failure::Call { cpu: me, error })?;
        if index < CALLS_TO_SELF && OWN.get() != before {
            return Err(Failure::Misplaced { cpu: me, what: "while its interrupts were off" });
        }
    }
    drop(guard);
    let ran = || OWN.get() - before;
    let _ = Deadline::after_ms(IPI_CALL_TIMEOUT_MS).wait_until(|| ran() as usize == 2 * CALLS_TO_SELF);
    if ran() as usize == 2 * CALLS_TO_SELF {
        return Ok(());
    }
    Err(Failure::Count { cpu: me, ran: u64::from(ran()), sent: 2 * CALLS_TO_SELF as u64 })
}

/// Notes that a call is sent to these CPUs.
fn note_sent(targets: &CpuSet) {
    for cpu in targets.iter() {
        if let Some(sent) = smp::cpus()[cpu.index()].get(SENT) {
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What every call does: sees whether it is in the right place, and counts.
fn land(targets: &CpuSet) {
    let me = cpu::current();
    if !targets.contains(me) {
        FIRST.lock().get_or_insert(Failure::Misplaced { cpu: me, what: "that was not meant for it" });
    }
    land_anywhere(0);
}

fn land_anywhere(_: usize) {
    if cpu::interrupts_enabled() {
        FIRST
            .lock()
            .get_or_insert(Failure::Misplaced { cpu: cpu::current(), what: "while its interrupts were on" });
    }
    RAN.increment();
}

/// Calls and waits; whether everybody has run it by then.
fn call_and_check(me: CpuId, targets: &CpuSet) -> Result<(), Failure> {
    note_sent(targets);
    let ran = AtomicU32::new(0);
    let outcome = smp::call(targets, &|| {
        land(targets);
        ran.fetch_add(1, Ordering::Relaxed);
    });
    outcome.map_err(|error| Failure::Call { cpu: me, error })?;
    let (ran, targets) = (ran.into_inner(), targets.len() as u32);
    if ran == targets { Ok(()) } else { Err(Failure::Returned { cpu: me, ran, targets }) }
}

/// Every CPU calls all, itself among them, and in every fourth round some, without waiting.
fn all_to_all(me: CpuId, rounds: u32) -> Result<(), Failure> {
    let all = smp::all_online();
    for round in 0..rounds {
        if round % 4 != 3 {
            call_and_check(me, &all)?;
            continue;
        }
        let some: CpuSet = all.iter().filter(|cpu| !(cpu.0 + me.0 + round / 4).is_multiple_of(3)).collect();
        note_sent(&some);
        smp::call_async(&some, land_anywhere, 0).map_err(|error| Failure::Call { cpu: me, error })?;
    }
    Ok(())
}

/// All CPUs at once call all others with interrupts off: nobody takes an interrupt, and nobody may wait for one.
fn crossing(me: CpuId, meeting: &Meeting, rounds: u32) -> Result<(), Failure> {
    let others = smp::other_online();
    for _ in 0..rounds {
        meeting.wait();
        let _guard = IrqGuard::new();
        call_and_check(me, &others)?;
    }
    meeting.wait();
    Ok(())
}

/// What is called calls in turn, and waits for that: as many CPUs at once as the depth of calls allows, since each may
/// come to wait for all others' calls inside its own.
fn nested(me: CpuId, meeting: &Meeting, rank: usize, rounds: u32) -> Result<(), Failure> {
    let others = smp::other_online();
    for _ in 0..rounds {
        meeting.wait();
        if rank >= CALL_DEPTH as usize {
            continue;
        }
        note_sent(&others);
        let outcome = smp::call(&others, &|| {
            land(&others);
            if let Err(failure) = call_and_check(cpu::current(), &CpuSet::of(me)) {
                FIRST.lock().get_or_insert(failure);
            }
        });
        outcome.map_err(|error| Failure::Call { cpu: me, error })?;
    }
    Ok(())
}

/// Whether each CPU has run what it was sent, once what nobody waited for has been run as well.
fn come_out_even() -> Result<(), Failure> {
    let deadline = Deadline::after_ms(IPI_CALL_TIMEOUT_MS);
    for cpu in smp::online() {
        let (Some(ran), Some(sent)) = (cpu.get(RAN), cpu.get(SENT)) else { continue };
        let ran = || ran.load(Ordering::Acquire);
        let sent = sent.load(Ordering::Acquire);
        let _ = deadline.wait_until(|| ran() >= sent);
        if ran() != sent {
            return Err(Failure::Count { cpu: cpu.id(), ran: ran(), sent });
        }
    }
    Ok(())
}
