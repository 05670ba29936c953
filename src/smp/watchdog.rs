//! The watchdog: CPUs at work watch each other, so that one that spins with interrupts off is reported, with its
//! backtrace, while the rest goes on. What counts as stuck is [`Watch`]'s rule.
//!
//! A CPU that waits for nothing takes no timer interrupt, so it neither beats nor is watched; nothing could be expected of
//! it. A CPU beats while it does a piece of work or waits until others have done theirs, and it is watched from when it
//! is given work, whether it takes it up or not, until it has finished. Each watches the next that is to be watched, in
//! the order of numbers, and whoever gives work waits for it; so while there is work, everybody who has some is watched,
//! by the one before. One that is stuck is passed over from then on, for it watches nobody.
//!
//! A CPU that is stuck without work, in an interrupt, is found by whoever calls it.

use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use super::{Cpu, cpus, nmi, work};
use crate::config::WATCHDOG_MS;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{self, IrqGuard};
use crate::per_cpu;
use crate::sync::watch::{BEATS, Watch};
use crate::time::timer::{self, Expiry, TimerId};

per_cpu! {
    /// Interrupts of this CPU's watchdog timer, and pieces of work that it has begun.
    static BEAT: AtomicU64 = AtomicU64::new(0);
    /// Whether its timer runs.
    static BEATING: AtomicBool = AtomicBool::new(false);
    /// Whether it was found stuck; it says so itself when it moves again.
    static STUCK: AtomicBool = AtomicBool::new(false);
    static WATCH: UnsafeCell<Watch> = UnsafeCell::new(Watch::NOBODY);
    /// How many beats in one another's scopes are wanted.
    static DEPTH: Cell<u32> = Cell::new(0);
}

/// CPUs found stuck.
static ALARMS: AtomicU64 = AtomicU64::new(0);

/// How often a CPU was found stuck.
pub fn alarms() -> u64 {
    ALARMS.load(Ordering::Relaxed)
}

/// While it lives, this CPU beats, watches and is watched.
#[must_use]
pub struct Beating(Option<TimerId>);

/// Begins to beat. Interrupts are on.
pub fn begin() -> Beating {
    BEAT.increment();
    if DEPTH.get() > 0 {
        DEPTH.set(DEPTH.get() + 1);
        return Beating(None);
    }
    let period = Duration::from_millis(WATCHDOG_MS) / BEATS;
    match timer::every(period, beat, cpu::current().index()) {
        Ok(timer) => {
            DEPTH.set(1);
            set_beating(true);
            Beating(Some(timer))
        }
        Err(error) => {
            log::warn!("cpu {} works without a watchdog: {error}", cpu::current());
            Beating(None)
        }
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
        if let Some(timer) = self.0 {
            set_beating(false);
            timer::cancel(timer);
        }
    }
}

fn set_beating(beating: bool) {
    BEATING.with(&IrqGuard::new(), |own| own.store(beating, Ordering::Release));
}

/// The timer's callback: interrupts off.
fn beat(expiry: &Expiry) {
    if expiry.data != cpu::current().index() {
        // The CPU is offline, and this one has its timers meanwhile.
        return;
    }
    let guard = IrqGuard::new();
    BEAT.increment();
    STUCK.with(&guard, |stuck| {
        if stuck.swap(false, Ordering::AcqRel) {
            log::warn!("cpu {} goes on", cpu::current());
        }
    });
    let watched = next_watched();
    let is_stuck = WATCH.with(&guard, |watch| {
        // SAFETY: this CPU's own, touched here alone, where no other beat comes in between.
        let watch = unsafe { &mut *watch.get() };
        watch.beat(watched.map(|(cpu, beats)| (cpu.id().0, beats)))
    });
    if let Some((cpu, _)) = watched.filter(|_| is_stuck)
        && let Some(stuck) = cpu.get(STUCK)
        && !stuck.swap(true, Ordering::AcqRel)
    {
        ALARMS.fetch_add(1, Ordering::Relaxed);
        nmi::warn(cpu, "watchdog", format_args!("no interrupt taken for {WATCHDOG_MS} ms of work"));
    }
}

/// The next CPU after this one that is to be watched, and its beats.
fn next_watched() -> Option<(&'static Cpu, u64)> {
    let me = cpu::current();
    let (before, after) = cpus().split_at(me.index() + 1);
    let in_turn = after.iter().chain(before.iter().take(me.index()));
    in_turn.filter(|cpu| cpu.is_online()).find_map(|cpu| {
        let (beating, stuck) = (cpu.get(BEATING)?, cpu.get(STUCK)?);
        let is_due = beating.load(Ordering::Acquire) || work::is_due(cpu);
        let is_watched = is_due && !stuck.load(Ordering::Acquire);
        is_watched.then_some((cpu, cpu.get(BEAT)?.load(Ordering::Acquire)))
    })
}
