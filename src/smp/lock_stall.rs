//! Reports of lock stalls. A CPU that has waited for a spin lock longer than the watchdog's time-out reports itself and
//! the holder's backtrace. This needs no work, no timer and no interrupt: the waiting CPU reads the clock itself
//! (`sync::waiting`). Other CPUs that wait for the same lock are only counted, until the reporting CPU has the lock.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Cpu, cpus, nmi};
use crate::boot;
use crate::config::WATCHDOG_MS;
use crate::console::{self, LineBuffer, Warning};
use crate::cpu::CpuId;
use crate::panic::{self, registers_here};
use crate::sync::{self, LockWait, ReportRole, WaitReporter};

static STALLS: AtomicU64 = AtomicU64::new(0);

/// Returns how many times a CPU has waited for a spin lock longer than [`WATCHDOG_MS`]. **Context:** any.
pub fn lock_stalls() -> u64 {
    STALLS.load(Ordering::Relaxed)
}

/// Registers the reporter. Once, on the BSP.
pub(crate) fn register() {
    sync::set_wait_reporter(WaitReporter { stalled, over });
}

/// Reports a stall, on the waiting CPU, interrupts off. Takes no lock but by `try_lock`: the stalled lock may be the
/// console's.
fn stalled(wait: &LockWait, role: ReportRole) {
    STALLS.fetch_add(1, Ordering::Relaxed);
    if role == ReportRole::Counted {
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
        frames: panic::backtrace_of(&registers).collect(),
    });
    let Some(holder) = wait.holder.and_then(|holder| cpus().get(holder.index())) else { return };
    let backtrace = nmi::backtrace_of(holder).ok();
    console::warn(Warning {
        cpu: holder.id().0,
        kind: "lock_holder",
        message: LineBuffer::format(format_args!("holds {}, which cpu {} waits for", wait.lock, wait.cpu)),
        wait: holder.lock_wait(),
        rip: backtrace.map(|backtrace| backtrace.rip),
        slide,
        frames: backtrace.iter().flat_map(|backtrace| backtrace.frames()).copied().collect(),
    });
}

/// Reports the end of a stall. As for [`stalled`]: the lock, which this CPU holds now, may be the console's.
fn over(wait: &LockWait, others: u32) {
    let ms = wait.waited_ns / 1_000_000;
    log::warn!("{}: acquired by cpu {} after {ms} ms, {others} more CPUs stalled", wait.lock, wait.cpu);
}

impl Cpu {
    /// Returns the CPU's wait for a spin lock, if it waits for one now. **Context:** any.
    pub fn lock_wait(&self) -> Option<LockWait> {
        lock_wait(self.id(), self.gs_base()?)
    }
}

fn lock_wait(cpu: CpuId, gs_base: usize) -> Option<LockWait> {
    // SAFETY: `gs_base` belongs to an area that is never freed: `Cpu::gs_base` returns `None` before there is one.
    unsafe { sync::wait_of(cpu, gs_base) }
}
