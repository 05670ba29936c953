//! Checks that a switch that is wanted takes place at the end of a slice, whatever else the CPU's timer is set for. Called by the part `threads`.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use super::super::check::{CheckResult, ensure};
use crate::cpu::{CpuId, IrqGuard};
use crate::sched;
use crate::smp::{self, hotplug};
use crate::sync::Timeout;
use crate::thread::{self, Builder};
use crate::time::timer;

/// How long a thread computes at most before another one has its turn, in milliseconds.
const TURN_MS: u64 = 30_000;

/// Runs all checks. Returns the number of threads.
pub(super) fn run() -> CheckResult<u64> {
    let is_fair = sched::policy().is_some_and(|policy| policy.name == "fair");
    if is_fair { slices_beside_timers_of_an_offline_cpu() } else { Ok(0) }
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
