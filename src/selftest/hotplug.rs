//! CPUs go offline and come back: first each while it is idle, then any of them while all draw frames, call each other and
//! arm timers. Nothing here looks at a clock: counts must come out even, and so must the frame allocator's books.

mod failure;

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use fastrand::Rng;

pub use failure::Failure;

use crate::apic::{io_apic, serial_input};
use crate::config::{IPI_CALL_TIMEOUT_MS, STRESS_GRACE_MS};
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{self, CpuId, CpuSet, IrqGuard};
use crate::memory::OwnedFrame;
use crate::smp::hotplug::{self, HotplugState, OfflineError, OnlineError};
use crate::smp::{self, CallError, Cpu};
use crate::sync::{Deadline, SpinLockIrq};
use crate::time::timer::{self, Expiry, TimerId};
use crate::{memory, per_cpu};

/// Where the choices start: the same in each run, for a failure to come again.
const SEED: u64 = 0x0ff1_14e5;

/// The most frames that a CPU at work holds, and timers that it has waiting.
const MOST_FRAMES: usize = 24;
const MOST_TIMERS: u64 = 8;

per_cpu! {
    /// Calls to this CPU that its inbox took, and those that were run.
    static SENT: AtomicU64 = AtomicU64::new(0);
    static RAN: AtomicU64 = AtomicU64::new(0);
    /// Timers of this CPU's, and those that expired, here or elsewhere.
    static ARMED: AtomicU64 = AtomicU64::new(0);
    static EXPIRED: AtomicU64 = AtomicU64::new(0);
    /// How many times it was away in the middle of its work.
    static AWAY: AtomicU64 = AtomicU64::new(0);
}

static FIRST: SpinLockIrq<Option<Failure>> = SpinLockIrq::new(None);
crate::name_lock!(FIRST);

/// How often a CPU has done its part of [`check_work`].
static WORKED: AtomicU64 = AtomicU64::new(0);

/// Timers that another CPU than their own has served.
static SERVED_ELSEWHERE: AtomicU64 = AtomicU64::new(0);

/// Runs the part with `rounds` departures and returns in all. Only the boot processor calls this, with interrupts on, when
/// all CPUs wait for work.
///
/// # Errors
/// The first failure.
pub fn run(rounds: u32) -> Result<(), Failure> {
    refused()?;
    let cpus = smp::online().count();
    let before = free_frames()?;
    if let Err(failure) = idle_ones(cpus, before) {
        // The rest goes on, and one that is only late.
        if let Failure::Online(OnlineError::OnlineInProgress { cpu, .. }) = failure {
            let late = &smp::cpus()[cpu.index()];
            let _ = Deadline::after_ms(IPI_CALL_TIMEOUT_MS)
                .wait_until(|| late.hotplug_state() == HotplugState::Online);
        }
        smp::call(&smp::all_online(), &|| {}).map_err(|error| Failure::Call { cpu: CpuId::BSP, error })?;
        log::warn!("{} CPUs go on without the one that failed", smp::online().count());
        return Err(failure);
    }
    let is_over = AtomicBool::new(false);
    let departures = AtomicU32::new(0);
    let all = smp::all_online();
    super::on_each_cpu(STRESS_GRACE_MS, &|cpu| {
        let outcome = if cpu.id() == CpuId::BSP {
            let outcome = take_turns(&all, rounds, &departures);
            is_over.store(true, Ordering::Release);
            outcome
        } else {
            work(cpu, &all, &is_over)
        };
        if let Err(failure) = outcome {
            FIRST.lock().get_or_insert(failure);
        }
    });
    let first = *FIRST.lock();
    if let Some(failure) = first {
        return Err(failure);
    }
    come_out_even("calls", SENT, RAN)?;
    let departures = departures.into_inner();
    let away: u64 =
        smp::cpus().iter().filter_map(|cpu| cpu.get(AWAY)).map(|away| away.load(Ordering::Acquire)).sum();
    if away != u64::from(departures) {
        return Err(Failure::Departures { asked: departures, away });
    }
    come_out_even("timers", ARMED, EXPIRED)?;
    let after = free_frames()?;
    if before != after {
        return Err(Failure::Frames { before, after });
    }
    let _guard = IrqGuard::new();
    memory::frames().validate().map_err(Failure::Books)?;
    let timers = SERVED_ELSEWHERE.load(Ordering::Relaxed);
    log::info!(
        "{rounds} rounds among {cpus} CPUs: {} went offline and came back, {timers} timers served meanwhile",
        departures
    );
    Ok(())
}

/// What must not be done is refused.
fn refused() -> Result<(), Failure> {
    let nobody = CpuId(smp::cpus().len() as u32);
    let expect = |what, holds: bool| if holds { Ok(()) } else { Err(Failure::Refusal { what }) };
    let refusal = hotplug::offline(CpuId::BSP) == Err(OfflineError::IsBootCpu);
    expect("the boot processor's departure", refusal)?;
    let refusal = hotplug::offline(nobody) == Err(OfflineError::NotListed { cpu: nobody });
    expect("the departure of a CPU that does not exist", refusal)?;
    let refusal = hotplug::online(CpuId::BSP) == Err(OnlineError::IsOnline { cpu: CpuId::BSP });
    expect("the return of a CPU that is online", refusal)?;
    let _guard = IrqGuard::new();
    let refusal = hotplug::offline(nobody) == Err(OfflineError::InterruptsOff);
    expect("a wait with interrupts off", refusal)
}

/// Each CPU in turn goes while it has nothing to do, and leaves behind timers that expire while it is away, a frame in its
/// magazine, and a line that interrupts it.
fn idle_ones(cpus: usize, free: u64) -> Result<(), Failure> {
    let mut expected = WORKED.load(Ordering::Acquire);
    for cpu in smp::all_online().iter().filter(|cpu| *cpu != CpuId::BSP) {
        let target = &smp::cpus()[cpu.index()];
        let failed = |error| Failure::Call { cpu: CpuId::BSP, error };
        let late: SpinLockIrq<Option<TimerId>> = SpinLockIrq::new(None);
        let leave_behind = || {
            arm(&[Duration::from_millis(1), Duration::from_millis(100)]);
            *late.lock() = timer::after(Duration::from_secs(3600), expired, usize::MAX).ok();
            drop(OwnedFrame::alloc());
        };
        smp::call(&CpuSet::of(cpu), &leave_behind).map_err(failed)?;
        let has_line = serial_input::reroute(target.entry.apic_id).is_ok();
        hotplug::offline(cpu).map_err(Failure::Offline)?;
        check_who_is_online(cpu, cpus - 1)?;
        check_lines(target, has_line)?;
        let after = free_frames()?;
        if free != after {
            return Err(Failure::Frames { before: free, after });
        }
        if hotplug::offline(cpu) != Err(OfflineError::NotOnline { cpu }) {
            return Err(Failure::Refusal { what: "a second departure" });
        }
        // Nobody but the boot processor can serve them now.
        come_out_even_for(target, "timers", ARMED, EXPIRED)?;
        if !late.lock().take().is_some_and(timer::cancel) {
            return Err(Failure::Count { cpu, what: "timers", sent: 1, ran: 0 });
        }
        check_work(cpu, cpus - 1, &mut expected)?;
        hotplug::online(cpu).map_err(Failure::Online)?;
        check_who_is_online(cpu, cpus)?;
        check_work(cpu, cpus, &mut expected)?;
        // It has its own APIC timer again.
        smp::call(&CpuSet::of(cpu), &|| arm(&[Duration::from_millis(1)])).map_err(failed)?;
        come_out_even_for(target, "timers", ARMED, EXPIRED)?;
    }
    Ok(())
}

/// Whether a piece of work for all is done by so many CPUs, and `expected` times with all before it: a CPU that was away has
/// no part in what was done meanwhile, and does not make up for it later.
fn check_work(cpu: CpuId, count: usize, expected: &mut u64) -> Result<(), Failure> {
    super::on_each_cpu(STRESS_GRACE_MS, &|_| {
        WORKED.fetch_add(1, Ordering::AcqRel);
    });
    *expected += count as u64;
    if WORKED.load(Ordering::Acquire) == *expected { Ok(()) } else { Err(Failure::Ranks { cpu }) }
}

/// Arms timers of this CPU's.
fn arm(delays: &[Duration]) {
    for delay in delays {
        if timer::after(*delay, expired, cpu::current().index()).is_ok() {
            ARMED.increment();
        }
    }
}

/// Whether no line interrupts a CPU any more, and the one that did interrupts the boot processor.
fn check_lines(gone: &Cpu, had_line: bool) -> Result<(), Failure> {
    // To move them to where they are tells how many they are.
    let lines_of = |cpu: &Cpu| io_apic::move_all(cpu.entry.apic_id, cpu.entry.apic_id);
    match (lines_of(gone), lines_of(&smp::cpus()[CpuId::BSP.index()])) {
        (Ok(0), Ok(lines)) if lines > 0 || !had_line => Ok(()),
        _ => Err(Failure::Lines { cpu: gone.id() }),
    }
}

/// Whether so many CPUs are online, with ranks from 0, this CPU among them or not; and whether a call to it is run or
/// refused accordingly.
fn check_who_is_online(cpu: CpuId, count: usize) -> Result<(), Failure> {
    let in_order = smp::online().enumerate().all(|(rank, cpu)| cpu.rank() == Some(rank));
    let ran = AtomicU32::new(0);
    let outcome = smp::call(&CpuSet::of(cpu), &|| {
        ran.fetch_add(1, Ordering::Relaxed);
    });
    let is_right = match smp::cpus()[cpu.index()].is_online() {
        true => outcome == Ok(()) && ran.into_inner() == 1,
        false => outcome == Err(CallError::Offline { first: cpu }) && ran.into_inner() == 0,
    };
    let is_counted = smp::online().count() == count;
    if in_order && is_right && is_counted { Ok(()) } else { Err(Failure::Ranks { cpu }) }
}

/// Takes CPUs off and brings them back, in any order, so that none to all of them are away at once.
fn take_turns(all: &CpuSet, rounds: u32, departures: &AtomicU32) -> Result<(), Failure> {
    let mut rng = Rng::with_seed(SEED);
    let mut away = CpuSet::EMPTY;
    let others = all.len() - 1;
    for _ in 0..rounds {
        let Some(cpu) = all.iter().nth(1 + rng.usize(..others.max(1))) else { break };
        if away.remove(cpu) {
            hotplug::online(cpu).map_err(Failure::Online)?;
        } else {
            hotplug::offline(cpu).map_err(Failure::Offline)?;
            away.insert(cpu);
            departures.fetch_add(1, Ordering::Relaxed);
        }
        check_who_is_online(cpu, all.len() - away.len())?;
    }
    away.iter().try_for_each(|cpu| hotplug::online(cpu).map_err(Failure::Online))
}

/// What the others do meanwhile.
fn work(cpu: &Cpu, all: &CpuSet, is_over: &AtomicBool) -> Result<(), Failure> {
    let mut rng = Rng::with_seed(SEED ^ u64::from(cpu.id().0 + 1));
    let mut held: heapless::Vec<OwnedFrame, MOST_FRAMES> = heapless::Vec::new();
    while !is_over.load(Ordering::Acquire) {
        let wanted = rng.usize(..MOST_FRAMES);
        held.extend((0..wanted).map_while(|_| OwnedFrame::alloc()));
        rng.shuffle(&mut held);
        call_somebody(cpu.id(), all, &mut rng)?;
        arm_something(cpu, &mut rng);
        held.clear();
        if hotplug::offline_point() {
            AWAY.increment();
        }
    }
    Ok(())
}

/// Calls one CPU without waiting, and now and then all that are online.
fn call_somebody(me: CpuId, all: &CpuSet, rng: &mut Rng) -> Result<(), Failure> {
    let failed = |error| Failure::Call { cpu: me, error };
    let Some(target) = all.iter().nth(rng.usize(..all.len())) else { return Ok(()) };
    match smp::call_async(&CpuSet::of(target), |_| RAN.increment(), 0) {
        Ok(()) => {
            if let Some(sent) = smp::cpus()[target.index()].get(SENT) {
                sent.fetch_add(1, Ordering::AcqRel);
            }
        }
        Err(CallError::Offline { first }) if first == target && target != me => {}
        Err(error) => return Err(failed(error)),
    }
    match rng.u32(..16) {
        0 => smp::call_online(&smp::all_online(), &|| {}).map_err(failed),
        _ => Ok(()),
    }
}

/// Arms a timer for some time soon.
fn arm_something(cpu: &Cpu, rng: &mut Rng) {
    let expired_yet = cpu.get(EXPIRED).map_or(0, |expired| expired.load(Ordering::Acquire));
    let delay = Duration::from_micros(rng.u64(..2000));
    if ARMED.get() - expired_yet < MOST_TIMERS {
        arm(&[delay]);
    }
}

/// The callback: on the CPU that armed the timer, or on the one that serves it meanwhile.
fn expired(expiry: &Expiry) {
    let Some(owner) = smp::cpus().get(expiry.data) else { return };
    if owner.id() != cpu::current() {
        SERVED_ELSEWHERE.fetch_add(1, Ordering::Relaxed);
    }
    if let Some(expired) = owner.get(EXPIRED) {
        expired.fetch_add(1, Ordering::AcqRel);
    }
}

fn come_out_even<S, R>(what: &'static str, sent: S, ran: R) -> Result<(), Failure>
where
    S: PerCpu<Value = AtomicU64> + Copy,
    R: PerCpu<Value = AtomicU64> + Copy,
{
    smp::cpus().iter().try_for_each(|cpu| come_out_even_for(cpu, what, sent, ran))
}

/// Whether as many were run as were sent, once what is still under way has been run as well.
fn come_out_even_for<S, R>(cpu: &Cpu, what: &'static str, sent: S, ran: R) -> Result<(), Failure>
where
    S: PerCpu<Value = AtomicU64>,
    R: PerCpu<Value = AtomicU64>,
{
    let (Some(sent), Some(ran)) = (cpu.get(sent), cpu.get(ran)) else { return Ok(()) };
    let (sent, ran) = (sent.load(Ordering::Acquire), || ran.load(Ordering::Acquire));
    let _ = Deadline::after_ms(IPI_CALL_TIMEOUT_MS).wait_until(|| ran() >= sent);
    if ran() == sent { Ok(()) } else { Err(Failure::Count { cpu: cpu.id(), what, sent, ran: ran() }) }
}

/// The free frames, when no CPU keeps any.
fn free_frames() -> Result<u64, Failure> {
    let drain = || memory::drain_this_cpu(&IrqGuard::new());
    smp::call(&smp::all_online(), &drain).map_err(|error| Failure::Call { cpu: CpuId::BSP, error })?;
    let _guard = IrqGuard::new();
    Ok(memory::frames().free_frames() as u64)
}
