//! Checks calls between CPUs. Each call runs exactly once, on its target, with interrupts off, while all CPUs call at the same
//! time. The checks depend on counts, not on time. Before that: work for all CPUs is refused in the wrong contexts.

use core::cell::Cell;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::check::{CheckResult, Failed, ensure, fail, failed, on_all_cpus, outcome, send_facts};
use crate::config::{IPI_CALL_TIMEOUT_MS, STRESS_GRACE_MS};
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{self, CpuId, CpuSet, IrqGuard};
use crate::per_cpu;
use crate::smp::{self, CALL_DEPTH, CALLS_TO_SELF, CallError, Cpu, WorkError};
use crate::stress::barrier::Barrier;
use crate::sync::Timeout;

/// Additional time limit for each round, in milliseconds, for hosts with far fewer cores than the machine has CPUs.
const ROUND_MS: u64 = 20;

per_cpu! {
    /// Calls that this CPU has run.
    static RAN: AtomicU64 = AtomicU64::new(0);
    /// Calls to this CPU, counted by the senders.
    static SENT: AtomicU64 = AtomicU64::new(0);
    /// Calls from this CPU to itself that it has run.
    static OWN: Cell<u32> = Cell::new(0);
}

/// A call by `cpu` failed.
fn call_failed(cpu: CpuId, error: impl fmt::Display) -> Failed {
    failed(format_args!("cpu {cpu}'s call: {error}"))
}

/// Checks that a call had run on all of its targets when it returned.
fn check_ran(caller: CpuId, ran: u32, targets: u32) -> CheckResult {
    ensure!(ran == targets, "cpu {caller}'s call to {targets} CPUs had run {ran} times when it returned");
    Ok(())
}

/// Runs the part with `rounds` rounds in all.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// The first failed check.
pub(crate) fn run(rounds: u32) -> CheckResult {
    // An unresponsive CPU is found here, before any CPU waits for work to end.
    smp::call(&smp::all_online(), &|| {}).map_err(|error| call_failed(CpuId::BSP, error))?;
    offline_target()?;
    work_is_refused()?;
    let online = smp::online().count() as u32;
    let each = rounds.div_ceil(online);
    let barrier = Barrier::new(smp::all_online());
    let interrupts_before = totals();
    on_all_cpus(STRESS_GRACE_MS + u64::from(rounds) * ROUND_MS, &|cpu| {
        let me = cpu.id();
        to_itself(me)
            .and_then(|()| all_to_all(me, each))
            .and_then(|()| crossing(me, &barrier, each / 16 + 1))
            .and_then(|()| nested(me, &barrier, cpu.rank().unwrap_or(0), each / 16 + 1))
            .inspect_err(|_| barrier.abort())
    })?;
    check_counts()?;
    outcome()?;
    let (calls, interrupts) = totals();
    log::info!(
        "calls: {rounds} rounds among {online} CPUs, {} calls by {} interrupts",
        calls - interrupts_before.0,
        interrupts - interrupts_before.1
    );
    send_facts("selftest.calls", &[("cpus", online.into()), ("rounds", rounds.into())]);
    Ok(())
}

/// Checks that work for all CPUs is refused with interrupts off, and inside other work on every CPU, and that refused work does
/// not run. Afterwards work runs once on each CPU.
fn work_is_refused() -> CheckResult {
    let ran = AtomicU32::new(0);
    let count = |_: &'static Cpu| {
        ran.fetch_add(1, Ordering::Relaxed);
    };
    let expect = |cpu, outcome, expected| match outcome {
        Err(error) if error == expected => Ok(()),
        Ok(()) => fail!("cpu {cpu}: work for all CPUs was not refused"),
        Err(error) => fail!("cpu {cpu}: work was refused with another error: {error}"),
    };
    let outcome = {
        let _guard = IrqGuard::new();
        smp::on_each_cpu(STRESS_GRACE_MS, &count)
    };
    expect(CpuId::BSP, outcome, WorkError::InterruptsOff)?;
    on_all_cpus(STRESS_GRACE_MS, &|cpu| {
        let outcome = smp::on_each_cpu(STRESS_GRACE_MS, &count);
        expect(cpu.id(), outcome, WorkError::Busy { by: CpuId::BSP })
    })?;
    let targets = smp::online().count() as u32;
    on_all_cpus(STRESS_GRACE_MS, &|cpu| {
        count(cpu);
        Ok(())
    })?;
    check_ran(CpuId::BSP, ran.into_inner(), targets)
}

/// The number of calls, and of call interrupts, of all CPUs so far.
fn totals() -> (u64, u64) {
    let each = smp::online().filter_map(|cpu| cpu.gs_base()).map(|gs_base| {
        // SAFETY: the base must be that of a per-CPU area that stays mapped. The area of a CPU that is online is never freed.
        unsafe { smp::answered(gs_base) }
    });
    each.fold((0, 0), |sum, cpu| (sum.0 + cpu.0, sum.1 + cpu.1))
}

/// Checks that a call to a CPU that does not exist returns an error, and runs on its other targets.
fn offline_target() -> CheckResult {
    let missing = CpuId(smp::cpus().len() as u32);
    let ran = AtomicU32::new(0);
    let targets = [CpuId::BSP, missing].into_iter().collect();
    let outcome = smp::call(&targets, &|| {
        ran.fetch_add(1, Ordering::Relaxed);
    });
    match (outcome, ran.into_inner()) {
        (Err(CallError::Offline { first }), 1) if first == missing => Ok(()),
        (Err(error), 1) => Err(call_failed(CpuId::BSP, error)),
        (Ok(()), 1) => fail!("cpu {}'s call to a CPU that does not exist returned no error", CpuId::BSP),
        (_, ran) => check_ran(CpuId::BSP, ran, 1),
    }
}

/// Sends this CPU more calls than its queue holds. None runs before interrupts are on or room is needed, and none is lost.
fn to_itself(me: CpuId) -> CheckResult {
    fn count(_: usize) {
        OWN.set(OWN.get() + 1);
    }
    const CALLS: usize = 2 * CALLS_TO_SELF;
    let before = OWN.get();
    let guard = IrqGuard::new();
    for index in 0..CALLS {
        smp::call_self(count, 0).map_err(|error| call_failed(me, error))?;
        let is_early = index < CALLS_TO_SELF && OWN.get() != before;
        ensure!(!is_early, "a call to itself ran on cpu {me} while its interrupts were off");
    }
    drop(guard);
    let ran = || (OWN.get() - before) as usize;
    let _ = Timeout::after_ms(IPI_CALL_TIMEOUT_MS).wait_until(|| ran() == CALLS);
    ensure!(ran() == CALLS, "cpu {me} ran {} calls of {CALLS}", ran());
    Ok(())
}

/// Counts a call to each of these CPUs.
fn note_sent(targets: &CpuSet) {
    for cpu in targets.iter() {
        if let Some(sent) = smp::cpus()[cpu.index()].get(SENT) {
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The body of every call: checks that this CPU is a target, and counts. A failure is recorded for the CPU that runs the part.
fn land(targets: &CpuSet) {
    let me = cpu::current();
    if !targets.contains(me) {
        let _ = failed(format_args!("a call ran on cpu {me}, which is not a target"));
    }
    land_anywhere(0);
}

fn land_anywhere(_: usize) {
    if cpu::interrupts_enabled() {
        let _ = failed(format_args!("a call ran on cpu {} while its interrupts were on", cpu::current()));
    }
    RAN.increment();
}

/// Calls the targets, and checks that all of them have run the call when it returns.
fn call_and_check(me: CpuId, targets: &CpuSet) -> CheckResult {
    note_sent(targets);
    let ran = AtomicU32::new(0);
    let outcome = smp::call(targets, &|| {
        land(targets);
        ran.fetch_add(1, Ordering::Relaxed);
    });
    outcome.map_err(|error| call_failed(me, error))?;
    check_ran(me, ran.into_inner(), targets.len() as u32)
}

/// Every CPU calls all, itself included; in every fourth round it calls some without waiting.
fn all_to_all(me: CpuId, rounds: u32) -> CheckResult {
    let all = smp::all_online();
    for round in 0..rounds {
        if round % 4 != 3 {
            call_and_check(me, &all)?;
            continue;
        }
        let some: CpuSet = all.iter().filter(|cpu| !(cpu.0 + me.0 + round / 4).is_multiple_of(3)).collect();
        note_sent(&some);
        smp::call_async(&some, land_anywhere, 0).map_err(|error| call_failed(me, error))?;
    }
    Ok(())
}

/// All CPUs call all others at once with interrupts off: each must poll its queue, as no CPU takes an interrupt.
fn crossing(me: CpuId, barrier: &Barrier, rounds: u32) -> CheckResult {
    let others = smp::other_online();
    for _ in 0..rounds {
        barrier.wait();
        let _guard = IrqGuard::new();
        call_and_check(me, &others)?;
    }
    barrier.wait();
    Ok(())
}

/// The target of a call calls the caller, and waits. As many CPUs do so at once as the depth of calls allows, since each may
/// have to wait for all others' calls inside its own.
fn nested(me: CpuId, barrier: &Barrier, rank: usize, rounds: u32) -> CheckResult {
    let others = smp::other_online();
    for _ in 0..rounds {
        barrier.wait();
        if rank >= CALL_DEPTH as usize {
            continue;
        }
        note_sent(&others);
        let outcome = smp::call(&others, &|| {
            land(&others);
            // A failure is recorded for the CPU that runs the part.
            let _ = call_and_check(cpu::current(), &CpuSet::of(me));
        });
        outcome.map_err(|error| call_failed(me, error))?;
    }
    Ok(())
}

/// Checks that each CPU has run as many calls as were sent to it. Waits for calls that no CPU has waited for.
fn check_counts() -> CheckResult {
    let mut limit = Timeout::after_ms(IPI_CALL_TIMEOUT_MS);
    for cpu in smp::online() {
        let (Some(ran), Some(sent)) = (cpu.get(RAN), cpu.get(SENT)) else { continue };
        let ran = || ran.load(Ordering::Acquire);
        let sent = sent.load(Ordering::Acquire);
        let _ = limit.wait_until(|| ran() >= sent);
        ensure!(ran() == sent, "cpu {} ran {} calls of {sent}", cpu.id(), ran());
    }
    Ok(())
}
