//! A CPU that has waited for a spin lock for longer than the watchdog's time reports itself, and where the holder is. That
//! needs no work under way, no timer and no interrupt: the waiting CPU itself looks at the clock (`sync::waiting`). Other CPUs
//! that wait for the same lock are only counted, until the one that has reported has got it.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Cpu, cpus, nmi};
use crate::boot;
use crate::config::WATCHDOG_MS;
use crate::console::{self, LineBuffer, Warning};
use crate::cpu::CpuId;
use crate::panic::{self, registers_here};
use crate::sync::{self, LockWait, Turn, WaitReporter};

static STALLS: AtomicU64 = AtomicU64::new(0);

/// How often a CPU has waited for a spin lock for longer than [`WATCHDOG_MS`].
pub fn lock_stalls() -> u64 {
    STALLS.load(Ordering::Relaxed)
}

pub fn register() {
    sync::set_wait_reporter(WaitReporter { stalled, over });
}

/// On the waiting CPU, interrupts off. Waits for no lock: the console may be what it waits for.
fn stalled(wait: &LockWait, turn: Turn) {
    STALLS.fetch_add(1, Ordering::Relaxed);
    if turn == Turn::Counted {
        return;
    }
    let registers = registers_here();
    let slide = boot::handoff().slide;
    console::warn(Warning {
        cpu: wait.cpu.0,
        kind: "lock",
        message: LineBuffer::format(format_args!("lock wait longer than {WATCHDOG_MS} ms")),
        wait: Some(*wait),
        rip: Some(registers.rip()),
        slide,
        frames: panic::backtrace(registers.rbp()).collect(),
    });
    let Some(holder) = wait.holder.and_then(|holder| cpus().get(holder.index())) else { return };
    let place = nmi::place_of(holder).ok();
    console::warn(Warning {
        cpu: holder.id().0,
        kind: "lock_holder",
        message: LineBuffer::format(format_args!("holds {}, which cpu {} waits for", wait.lock, wait.cpu)),
        wait: holder.lock_wait(),
        rip: place.map(|place| place.rip),
        slide,
        frames: place.iter().flat_map(|place| place.frames()).copied().collect(),
    });
}

/// As [`stalled`]: the lock, which this CPU has now, may be the console's.
fn over(wait: &LockWait, others: u32) {
    let ms = wait.waited_ns / 1_000_000;
    log::warn!(
        "{others} more CPUs waited for {} too long, until cpu {} had it after {ms} ms",
        wait.lock,
        wait.cpu
    );
}

impl Cpu {
    /// The spin lock that it waits for at this moment, if it does.
    pub fn lock_wait(&self) -> Option<LockWait> {
        lock_wait(self.id(), self.gs_base()?)
    }
}

fn lock_wait(cpu: CpuId, gs_base: usize) -> Option<LockWait> {
    // SAFETY: a CPU's area is never freed, and `Cpu::gs_base` is 0 before there is one.
    unsafe { sync::wait_of(cpu, gs_base) }
}
