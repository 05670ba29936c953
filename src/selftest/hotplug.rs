//! Checks CPU hotplug. First each AP goes offline and comes back while it is idle. Then random APs do so while all CPUs
//! allocate frames, call each other and arm timers. The checks depend on counts, not on time: no call, timer or frame is lost.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use fastrand::Rng;

use super::check::{
    CheckResult, Failed, ensure, expect_free_frames, fail, failed, free_frames, on_all_cpus, send_facts,
    validate_frames,
};
use crate::apic::{io_apic, serial_input};
use crate::config::{IPI_CALL_TIMEOUT_MS, STRESS_GRACE_MS};
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{self, CpuId, CpuSet};
use crate::memory::OwnedFrame;
use crate::per_cpu;
use crate::smp::hotplug::{self, HotplugState, OfflineError, OnlineError};
use crate::smp::{self, CallError, Cpu};
use crate::sync::{SpinLockIrq, Timeout};
use crate::time::timer::{self, Expiry, TimerId};

/// The seed of all choices, the same in each run, so that failures repeat.
const SEED: u64 = 0x0ff1_14e5;

/// The most frames that a working CPU owns.
const MOST_FRAMES: usize = 24;
/// The most pending timers of a working CPU.
const MOST_TIMERS: u64 = 8;

per_cpu! {
    /// Calls to this CPU that its call queue accepted.
    static SENT: AtomicU64 = AtomicU64::new(0);
    /// Calls that it has run.
    static RAN: AtomicU64 = AtomicU64::new(0);
    /// Timers that this CPU has armed.
    static ARMED: AtomicU64 = AtomicU64::new(0);
    /// The number of those that expired, on any CPU.
    static EXPIRED: AtomicU64 = AtomicU64::new(0);
    /// How often this CPU went offline during its work.
    static OFFLINE_CYCLES: AtomicU64 = AtomicU64::new(0);
}

/// How often a CPU has run the work of [`check_work`].
static WORKED: AtomicU64 = AtomicU64::new(0);

/// Timers that expired on another CPU than their own.
static SERVED_ELSEWHERE: AtomicU64 = AtomicU64::new(0);

/// A call by `cpu` failed.
fn call_failed(cpu: CpuId, error: impl fmt::Display) -> Failed {
    failed(format_args!("cpu {cpu}'s call: {error}"))
}

/// Runs the part with `rounds` offline and online operations in all.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// The first failed check.
pub(crate) fn run(rounds: u32) -> CheckResult {
    invalid_requests()?;
    let cpus = smp::online().count();
    let before = free_frames()?;
    if let Err(failure) = idle_cpus(cpus, before) {
        smp::call(&smp::all_online(), &|| {}).map_err(|error| call_failed(CpuId::BSP, error))?;
        let online = smp::online().count();
        log::warn!("hotplug: {online} CPUs continue without the one that failed");
        send_facts("selftest.hotplug", &[("cpus_after_failure", online as u64)]);
        return Err(failure);
    }
    let is_over = AtomicBool::new(false);
    let cycles = AtomicU32::new(0);
    let all = smp::all_online();
    on_all_cpus(STRESS_GRACE_MS, &|cpu| {
        if cpu.id() != CpuId::BSP {
            return work(cpu, &all, &is_over);
        }
        let outcome = cycle_cpus(&all, rounds, &cycles);
        is_over.store(true, Ordering::Release);
        outcome
    })?;
    check_counts("calls", SENT, RAN)?;
    let cycles = cycles.into_inner();
    let away: u64 = smp::cpus()
        .iter()
        .filter_map(|cpu| cpu.get(OFFLINE_CYCLES))
        .map(|away| away.load(Ordering::Acquire))
        .sum();
    ensure!(away == u64::from(cycles), "CPUs were taken offline {cycles} times, and were away {away} times");
    check_counts("timers", ARMED, EXPIRED)?;
    expect_free_frames(before, "offline/online cycles")?;
    validate_frames()?;
    let timers = SERVED_ELSEWHERE.load(Ordering::Relaxed);
    log::info!(
        "hotplug: {rounds} rounds among {cpus} CPUs: {cycles} CPU offline/online cycles, {timers} timers served elsewhere"
    );
    let facts = [
        ("cpus", cpus as u64),
        ("rounds", rounds.into()),
        ("cycles", cycles.into()),
        ("timers_served_elsewhere", timers),
    ];
    send_facts("selftest.hotplug", &facts);
    Ok(())
}

/// Brings a CPU online. If it is only late, waits for it, so that later parts find it online.
fn online(cpu: CpuId) -> CheckResult {
    let outcome = hotplug::online(cpu);
    if let Err(OnlineError::OnlineInProgress { cpu, .. }) = outcome {
        let late = &smp::cpus()[cpu.index()];
        let _ = Timeout::after_ms(IPI_CALL_TIMEOUT_MS)
            .wait_until(|| late.hotplug_state() == HotplugState::Online);
    }
    Ok(outcome?)
}

/// Checks that invalid hotplug requests are refused.
fn invalid_requests() -> CheckResult {
    let missing = CpuId(smp::cpus().len() as u32);
    let is_refused = hotplug::offline(CpuId::BSP) == Err(OfflineError::IsBootCpu);
    ensure!(is_refused, "offline of the BSP was not refused");
    let is_refused = hotplug::offline(missing) == Err(OfflineError::NotListed { cpu: missing });
    ensure!(is_refused, "offline of a CPU that does not exist was not refused");
    let is_refused = hotplug::online(CpuId::BSP) == Err(OnlineError::IsOnline { cpu: CpuId::BSP });
    ensure!(is_refused, "online of a CPU that is online was not refused");
    let _guard = IrqGuard::new();
    let is_refused = hotplug::offline(missing) == Err(OfflineError::InterruptsOff);
    ensure!(is_refused, "offline with interrupts off was not refused");
    Ok(())
}

/// Takes each AP offline in turn while it is idle, and brings it back. It leaves behind timers that expire meanwhile, a frame
/// in its magazine, and a device interrupt that is routed to it.
fn idle_cpus(cpus: usize, free: usize) -> CheckResult {
    let mut expected = WORKED.load(Ordering::Acquire);
    for cpu in smp::all_online().iter().filter(|cpu| *cpu != CpuId::BSP) {
        let target = &smp::cpus()[cpu.index()];
        let failed_call = |error| call_failed(CpuId::BSP, error);
        let late: SpinLockIrq<Option<TimerId>> = SpinLockIrq::new(None);
        let leave_behind = || {
            arm(&[Duration::from_millis(1), Duration::from_millis(100)]);
            *late.lock() = timer::after(Duration::from_secs(3600), expired, usize::MAX).ok();
            drop(OwnedFrame::alloc());
        };
        smp::call(&CpuSet::of(cpu), &leave_behind).map_err(failed_call)?;
        let had_irq = serial_input::reroute(target.entry.apic_id).is_ok();
        hotplug::offline(cpu)?;
        check_online_set(cpu, cpus - 1)?;
        check_routing(target, had_irq)?;
        expect_free_frames(free, "offline of an idle CPU")?;
        let is_refused = hotplug::offline(cpu) == Err(OfflineError::NotOnline { cpu });
        ensure!(is_refused, "offline of a CPU that is offline was not refused");
        // Only the BSP can serve the timers now.
        check_count(target, "timers", ARMED, EXPIRED)?;
        let is_cancelled = late.lock().take().is_some_and(timer::cancel);
        ensure!(is_cancelled, "a timer of cpu {cpu}, which is offline, cannot be cancelled");
        check_work(cpu, cpus - 1, &mut expected)?;
        online(cpu)?;
        check_online_set(cpu, cpus)?;
        check_work(cpu, cpus, &mut expected)?;
        // The CPU has its own APIC timer again.
        smp::call(&CpuSet::of(cpu), &|| arm(&[Duration::from_millis(1)])).map_err(failed_call)?;
        check_count(target, "timers", ARMED, EXPIRED)?;
    }
    Ok(())
}

/// Checks that `count` CPUs run a work item, and that all items so far ran `expected` times: a CPU that was offline does not
/// run the items of that time later.
fn check_work(cpu: CpuId, count: usize, expected: &mut u64) -> CheckResult {
    on_all_cpus(STRESS_GRACE_MS, &|_| {
        WORKED.fetch_add(1, Ordering::AcqRel);
        Ok(())
    })?;
    *expected += count as u64;
    let ran = WORKED.load(Ordering::Acquire);
    ensure!(ran == *expected, "work for all CPUs ran {ran} times, not {expected}, after cpu {cpu}'s cycle");
    Ok(())
}

/// Arms timers on this CPU.
fn arm(delays: &[Duration]) {
    for delay in delays {
        if timer::after(*delay, expired, cpu::current().index()).is_ok() {
            ARMED.increment();
        }
    }
}

/// Checks that no device interrupt is routed to a CPU any more, and that its own is routed to the BSP.
fn check_routing(offline: &Cpu, had_irq: bool) -> CheckResult {
    // Moving the interrupts of a CPU to itself returns their number.
    let irqs_of = |cpu: &Cpu| io_apic::move_all(cpu.entry.apic_id, cpu.entry.apic_id);
    match (irqs_of(offline), irqs_of(&smp::cpus()[CpuId::BSP.index()])) {
        (Ok(0), Ok(irqs)) if irqs > 0 || !had_irq => Ok(()),
        _ => fail!("device interrupts are still routed to cpu {}, which is offline", offline.id()),
    }
}

/// Checks that `count` CPUs are online, with ranks from 0, and that a call to `cpu` runs if it is online, or else is refused.
fn check_online_set(cpu: CpuId, count: usize) -> CheckResult {
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
    ensure!(
        in_order && is_right && is_counted,
        "the set of online CPUs is wrong after cpu {cpu} went offline or online"
    );
    Ok(())
}

/// Takes random APs offline and brings them back, so that between none and all of them are offline.
fn cycle_cpus(all: &CpuSet, rounds: u32, cycles: &AtomicU32) -> CheckResult {
    let mut rng = Rng::with_seed(SEED);
    let mut away = CpuSet::EMPTY;
    let others = all.len() - 1;
    for _ in 0..rounds {
        let Some(cpu) = all.iter().nth(1 + rng.usize(..others.max(1))) else { break };
        if away.remove(cpu) {
            hotplug::online(cpu)?;
        } else {
            hotplug::offline(cpu)?;
            away.insert(cpu);
            cycles.fetch_add(1, Ordering::Relaxed);
        }
        check_online_set(cpu, all.len() - away.len())?;
    }
    away.iter().try_for_each(|cpu| Ok(hotplug::online(cpu)?))
}

/// The work of the APs meanwhile.
fn work(cpu: &Cpu, all: &CpuSet, is_over: &AtomicBool) -> CheckResult {
    let mut rng = Rng::with_seed(SEED ^ u64::from(cpu.id().0 + 1));
    let mut frames: heapless::Vec<OwnedFrame, MOST_FRAMES> = heapless::Vec::new();
    while !is_over.load(Ordering::Acquire) {
        let wanted = rng.usize(..MOST_FRAMES);
        frames.extend((0..wanted).map_while(|_| OwnedFrame::alloc()));
        rng.shuffle(&mut frames);
        call_random(cpu.id(), all, &mut rng)?;
        arm_random(cpu, &mut rng);
        frames.clear();
        if hotplug::offline_point() {
            OFFLINE_CYCLES.increment();
        }
    }
    Ok(())
}

/// Calls a random CPU without waiting; in one of 16 cases also calls all that are online.
fn call_random(me: CpuId, all: &CpuSet, rng: &mut Rng) -> CheckResult {
    let failed_call = |error| call_failed(me, error);
    let Some(target) = all.iter().nth(rng.usize(..all.len())) else { return Ok(()) };
    match smp::call_async(&CpuSet::of(target), |_| RAN.increment(), 0) {
        Ok(()) => {
            if let Some(sent) = smp::cpus()[target.index()].get(SENT) {
                sent.fetch_add(1, Ordering::AcqRel);
            }
        }
        Err(CallError::Offline { first }) if first == target && target != me => {}
        Err(error) => return Err(failed_call(error)),
    }
    match rng.u32(..16) {
        0 => smp::call_online(&smp::all_online(), &|| {}).map_err(failed_call),
        _ => Ok(()),
    }
}

/// Arms a timer of random length, unless too many are pending.
fn arm_random(cpu: &Cpu, rng: &mut Rng) {
    let expired_yet = cpu.get(EXPIRED).map_or(0, |expired| expired.load(Ordering::Acquire));
    let delay = Duration::from_micros(rng.u64(..2000));
    if ARMED.get() - expired_yet < MOST_TIMERS {
        arm(&[delay]);
    }
}

/// The callback. It runs on the CPU that armed the timer, or on the BSP while that CPU is offline.
fn expired(expiry: &Expiry) {
    let Some(owner) = smp::cpus().get(expiry.data) else { return };
    if owner.id() != cpu::current() {
        SERVED_ELSEWHERE.fetch_add(1, Ordering::Relaxed);
    }
    if let Some(expired) = owner.get(EXPIRED) {
        expired.fetch_add(1, Ordering::AcqRel);
    }
}

/// [`check_count`] for all CPUs.
fn check_counts<S, R>(name: &str, sent: S, ran: R) -> CheckResult
where
    S: PerCpu<Value = AtomicU64> + Copy,
    R: PerCpu<Value = AtomicU64> + Copy,
{
    smp::cpus().iter().try_for_each(|cpu| check_count(cpu, name, sent, ran))
}

/// Checks that as many calls or timers were run as were sent. Waits for those that are pending.
fn check_count<S, R>(cpu: &Cpu, name: &str, sent: S, ran: R) -> CheckResult
where
    S: PerCpu<Value = AtomicU64>,
    R: PerCpu<Value = AtomicU64>,
{
    let (Some(sent), Some(ran)) = (cpu.get(sent), cpu.get(ran)) else { return Ok(()) };
    let (sent, ran) = (sent.load(Ordering::Acquire), || ran.load(Ordering::Acquire));
    let _ = Timeout::after_ms(IPI_CALL_TIMEOUT_MS).wait_until(|| ran() >= sent);
    ensure!(ran() == sent, "cpu {}: {} of {sent} {name} were run", cpu.id(), ran());
    Ok(())
}
