//! Checks that a switch that is wanted takes place: at the end of a slice, whatever else the CPU's timer is set for, and after the last
//! guard, whichever that is. Called by the part `threads`.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use super::super::check::{CheckResult, ensure};
use crate::cpu::{CpuId, IrqGuard};
use crate::interrupts::PreemptGuard;
use crate::sched;
use crate::smp::{self, hotplug};
use crate::sync::{SpinLockIrq, Timeout};
use crate::thread::{self, Builder, Class, JoinHandle};
use crate::time::timer;

/// How long a thread computes at most before another one has its turn, in milliseconds.
const TURN_MS: u64 = 30_000;

/// Runs all checks. Returns the number of threads.
pub(super) fn run() -> CheckResult<u64> {
    let is_fair = sched::policy().is_some_and(|policy| policy.name == "fair");
    if is_fair { Ok(slices_beside_timers_of_an_offline_cpu()? + after_the_last_guard()?) } else { Ok(0) }
}

/// Two threads take turns on the BSP while it takes over the timers of another CPU, which are due much later than the end of the slice.
fn slices_beside_timers_of_an_offline_cpu() -> CheckResult<u64> {
    const LATE: Duration = Duration::from_secs(3600);
    /// What the thread that computes waits for.
    static PHASE: AtomicU32 = AtomicU32::new(0);
    const COMPUTES: u32 = 1;
    const IS_OFFLINE: u32 = 2;
    static TURNS: AtomicU64 = AtomicU64::new(0);
    static ENDS: AtomicBool = AtomicBool::new(false);
    let mut others = smp::online().map(smp::Cpu::id).filter(|cpu| *cpu != CpuId::BSP);
    let (Some(from), Some(leaving)) = (others.next(), others.last()) else { return Ok(0) };
    PHASE.store(0, Ordering::SeqCst);
    TURNS.store(0, Ordering::SeqCst);
    ENDS.store(false, Ordering::SeqCst);
    let timer = Builder::new().pinned(leaving).spawn(|| timer::after(LATE, |_| {}, 0))?.join()?;
    let requester = Builder::new().name("requester").pinned(from).spawn(move || {
        while PHASE.load(Ordering::Acquire) != COMPUTES {
            thread::yield_now();
        }
        let outcome = hotplug::offline(leaving);
        PHASE.store(IS_OFFLINE, Ordering::Release);
        outcome
    })?;
    let pinned = |name| Builder::new().name(name).pinned(CpuId::BSP);
    let waiting = pinned("waiting").spawn(|| {
        while !ENDS.load(Ordering::Acquire) {
            TURNS.fetch_add(1, Ordering::AcqRel);
            thread::yield_now();
        }
    })?;
    let computing = pinned("computing").spawn(|| {
        let mut limit = Timeout::after_ms(TURN_MS);
        let mut has = |condition: &dyn Fn() -> bool| limit.wait_until(condition).is_ok();
        let has_begun = has(&|| TURNS.load(Ordering::Acquire) > 0);
        PHASE.store(COMPUTES, Ordering::Release);
        // The BSP's other timers would end the slice too, only later.
        let is_late = Cell::new(false);
        let is_offline = has(&|| {
            is_late.set(is_late.get() || !timer::is_armed_in_time(&IrqGuard::new()));
            PHASE.load(Ordering::Acquire) == IS_OFFLINE
        });
        let turns = TURNS.load(Ordering::Acquire);
        let has_turn = has(&|| TURNS.load(Ordering::Acquire) > turns);
        ENDS.store(true, Ordering::Release);
        (has_begun && is_offline && has_turn, is_late.get())
    })?;
    let (took_turns, is_late) = computing.join();
    waiting.join();
    requester.join()?;
    hotplug::online(leaving)?;
    timer::cancel(timer);
    ensure!(!is_late, "threads: the timer of cpu {} is set for after the end of a slice", CpuId::BSP);
    ensure!(
        took_turns,
        "threads: none waits for a slice of cpu {} to end while cpu {leaving} goes offline",
        CpuId::BSP
    );
    Ok(4)
}

/// A lock that a thread holds when it drops its last `PreemptGuard`.
static HELD: SpinLockIrq<()> = SpinLockIrq::new(());
crate::name_lock!(HELD);

/// The last `PreemptGuard` is dropped with interrupts off: the switch takes place when they are on again.
fn after_the_last_guard() -> CheckResult<u64> {
    /// How often the flag is read until the self-IPI must have arrived.
    const LOOKS: u32 = 100;
    static HAS_RUN: AtomicBool = AtomicBool::new(false);
    HAS_RUN.store(false, Ordering::SeqCst);
    let cpu = smp::online().last().map_or(CpuId::BSP, smp::Cpu::id);
    let caller = Builder::new().name("caller").pinned(cpu).spawn(move || {
        // It runs at once, and parks.
        let urgent = Builder::new().name("urgent").pinned(cpu).class(Class::RealTime { priority: 1 });
        let urgent = urgent.spawn(|| {
            thread::park();
            HAS_RUN.store(true, Ordering::Release);
        })?;
        let stay = PreemptGuard::new();
        urgent.thread().unpark();
        let locked = HELD.lock();
        drop(stay);
        let ran_early = HAS_RUN.load(Ordering::Acquire);
        drop(locked);
        let is_seen = (0..LOOKS).any(|_| HAS_RUN.load(Ordering::Acquire));
        Ok::<_, thread::SpawnError>((ran_early, is_seen, urgent))
    })?;
    let (ran_early, is_seen, urgent) = caller.join()?;
    JoinHandle::join(urgent);
    ensure!(!ran_early, "threads: switched with interrupts off");
    ensure!(is_seen, "threads: no switch after the last guards, a PreemptGuard and then a spin lock");
    Ok(2)
}
