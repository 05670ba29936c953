//! The watchdog. CPUs at work watch each other, so that a CPU that spins with interrupts off is reported with its
//! backtrace while the other CPUs continue. [`HeartbeatMonitor`] decides when a CPU is stuck.
//!
//! A CPU that waits for nothing takes no timer interrupt, so it has no heartbeat and is not watched. A CPU has a
//! heartbeat while it runs a piece of work, or waits for other CPUs to finish theirs. It is watched from the time at
//! which it is offered work until it has finished it, whether it takes the work or not. Each CPU watches the next CPU, by
//! number, that is to be watched. The owner of work waits for all participants, so every CPU with work is watched by the
//! one before it. A stuck CPU watches no other CPU, so it is skipped from then on.
//!
//! A CPU that is stuck without work, in an interrupt handler, is found by the CPU that calls it.

use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use super::{Cpu, cpus, nmi, wake};
use crate::config::WATCHDOG_MS;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{self, IrqGuard};
use crate::per_cpu;
use crate::sync::heartbeat::{BEATS_PER_TIMEOUT, HeartbeatMonitor, has_stopped};
use crate::time::now_ns;
use crate::time::timer::{self, Expiry, TimerId};

per_cpu! {
    /// The heartbeats of this CPU: interrupts of its watchdog timer, and pieces of work that it has begun.
    static HEARTBEATS: AtomicU64 = AtomicU64::new(0);
    /// Whether its watchdog timer runs.
    static IS_ACTIVE: AtomicBool = AtomicBool::new(false);
    /// Whether another CPU has found it stuck. The CPU itself clears this when it recovers.
    static IS_STUCK: AtomicBool = AtomicBool::new(false);
    /// The times of its last heartbeat but one and of its last, in nanoseconds since boot; 0 for none.
    static LAST_BUT_ONE_NS: AtomicU64 = AtomicU64::new(0);
    static LAST_NS: AtomicU64 = AtomicU64::new(0);
    static MONITOR: UnsafeCell<HeartbeatMonitor> = UnsafeCell::new(HeartbeatMonitor::NONE);
    /// The number of nested [`Heartbeat`]s.
    static DEPTH: Cell<u32> = Cell::new(0);
}

/// The number of times that a CPU was found stuck.
static ALARMS: AtomicU64 = AtomicU64::new(0);

/// Returns how many times a CPU was found stuck. **Context:** any.
pub(crate) fn alarms() -> u64 {
    ALARMS.load(Ordering::Relaxed)
}

/// The number of times that a CPU which was found stuck took interrupts again.
static RECOVERIES: AtomicU64 = AtomicU64::new(0);

/// Returns how many times a CPU that was found stuck has recovered. **Context:** any.
pub(crate) fn recoveries() -> u64 {
    RECOVERIES.load(Ordering::Relaxed)
}

/// The time between two heartbeats.
const PERIOD: Duration = Duration::from_millis(WATCHDOG_MS / BEATS_PER_TIMEOUT as u64);

/// Lets the timers tell a slow callback from a machine that the host has stopped. **Context:** the BSP, once.
pub(super) fn register() {
    timer::set_machine_has_stopped(machine_has_stopped);
}

/// Returns whether the host has stopped the machine since `from_ns`, as far as the heartbeats of the other CPUs show it.
///
/// **Context:** the timer interrupt.
fn machine_has_stopped(from_ns: u64) -> bool {
    let me = cpu::current();
    let others = cpus().iter().filter(|cpu| cpu.id() != me && cpu.is_online());
    let beats = others.filter_map(|cpu| {
        // The earlier one first: a heartbeat in between leaves it older than it is, never later.
        let last_but_one = cpu.get(LAST_BUT_ONE_NS)?.load(Ordering::Acquire);
        Some([last_but_one, cpu.get(LAST_NS)?.load(Ordering::Acquire)])
    });
    has_stopped(beats, from_ns, PERIOD.as_nanos() as u64)
}

/// The heartbeat of this CPU. While it exists, this CPU watches another and is watched.
#[must_use]
pub(crate) struct Heartbeat(Option<TimerId>);

/// Starts the heartbeat of this CPU. If there is no timer for it, logs a warning, and the CPU works without a watchdog.
///
/// **Context:** thread, interrupts on.
pub(crate) fn begin() -> Heartbeat {
    count(&IrqGuard::new());
    if DEPTH.get() > 0 {
        DEPTH.set(DEPTH.get() + 1);
        return Heartbeat(None);
    }
    match timer::every(PERIOD, beat, cpu::current().index()) {
        Ok(timer) => {
            DEPTH.set(1);
            set_active(true);
            Heartbeat(Some(timer))
        }
        Err(error) => {
            log::warn!("watchdog not armed on cpu {}: {error}", cpu::current());
            Heartbeat(None)
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
        if let Some(timer) = self.0 {
            set_active(false);
            timer::cancel(timer);
        }
    }
}

fn set_active(beating: bool) {
    IS_ACTIVE.with(&IrqGuard::new(), |own| own.store(beating, Ordering::Release));
}

/// Counts a heartbeat of this CPU.
fn count(_: &IrqGuard) {
    HEARTBEATS.increment();
    LAST_BUT_ONE_NS.set(LAST_NS.get());
    LAST_NS.set(now_ns());
}

/// The timer callback: interrupts are off.
fn beat(expiry: &Expiry) {
    if expiry.data != cpu::current().index() {
        // The timer's CPU is offline, and this one serves its timers.
        return;
    }
    let guard = IrqGuard::new();
    count(&guard);
    IS_STUCK.with(&guard, |stuck| {
        if stuck.swap(false, Ordering::AcqRel) {
            RECOVERIES.fetch_add(1, Ordering::Relaxed);
            log::warn!("cpu {} recovered", cpu::current());
        }
    });
    let watched = next_watched();
    let is_stuck = MONITOR.with(&guard, |watch| {
        // SAFETY: this CPU's own copy, which `beat` alone uses. A timer callback runs with interrupts off, so `beat` does
        // not nest.
        let watch = unsafe { &mut *watch.get() };
        watch.beat(watched.map(|(cpu, beats)| (cpu.id().0, beats)))
    });
    if let Some((cpu, _)) = watched.filter(|_| is_stuck)
        && let Some(stuck) = cpu.get(IS_STUCK)
        && !stuck.swap(true, Ordering::AcqRel)
    {
        ALARMS.fetch_add(1, Ordering::Relaxed);
        nmi::warn(cpu, "watchdog", format_args!("no interrupt taken for {WATCHDOG_MS} ms of work"));
    }
}

/// Returns the next CPU after this one that is to be watched, and its heartbeats.
fn next_watched() -> Option<(&'static Cpu, u64)> {
    let me = cpu::current();
    let (before, after) = cpus().split_at(me.index() + 1);
    let in_turn = after.iter().chain(before.iter().take(me.index()));
    in_turn.filter(|cpu| cpu.is_online()).find_map(|cpu| {
        let (beating, stuck) = (cpu.get(IS_ACTIVE)?, cpu.get(IS_STUCK)?);
        let is_due = beating.load(Ordering::Acquire) || wake::is_due(cpu);
        let is_watched = is_due && !stuck.load(Ordering::Acquire);
        is_watched.then_some((cpu, cpu.get(HEARTBEATS)?.load(Ordering::Acquire)))
    })
}
