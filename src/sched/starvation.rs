//! The watchdog of threads: it reports a thread that is ready, and that no CPU has run for `watchdog_ms`.
//!
//! A timer of the BSP looks at all threads eight times in that time. It marks each that is on a queue; the CPU that runs the thread next
//! clears the mark, which costs it nothing if there is none ([`ThreadState::watch`](super::state::ThreadState::watch)). A thread whose mark
//! was found so often in a row is starved. If the host stops the machine, the timer has one late interrupt.

use core::time::Duration;

use super::thread::cpu_of;
use super::thread_list;
use super::{idle_set, mechanism};
use crate::boot;
use crate::config::WATCHDOG_MS;
use crate::console::{self, LineBuffer, Warning};
use crate::cpu::{CpuId, ThreadName};
use crate::panic::MAX_FRAMES;
use crate::sched::entity::ThreadId;
use crate::smp;
use crate::sync::heartbeat::BEATS_PER_TIMEOUT;
use crate::time::timer::{self, Expiry};

/// The time between two looks.
const PERIOD: Duration = Duration::from_millis(WATCHDOG_MS / BEATS_PER_TIMEOUT as u64);

/// A thread that no CPU runs.
struct Starved {
    id: ThreadId,
    name: ThreadName,
    cpu: CpuId,
    frames: heapless::Vec<u64, MAX_FRAMES>,
}

/// Starts the timer. Without memory for it, logs a warning, and threads are not watched.
///
/// **Context:** the BSP's thread, once.
pub(crate) fn watch() {
    if let Err(error) = timer::every(PERIOD, look, 0) {
        log::warn!("watchdog of threads not armed: {error}");
    }
}

/// The timer callback: interrupts are off.
fn look(_: &Expiry) {
    let mut starved = None;
    thread_list::for_each(|thread| {
        // The next look finds another one: a warning is large.
        if starved.is_none() && thread.watch() == BEATS_PER_TIMEOUT {
            let cpu = cpu_of(thread);
            let frames = thread.backtrace().collect();
            starved = Some(Starved { id: thread.id(), name: thread.thread_name(), cpu, frames });
        }
    });
    if let Some(starved) = starved {
        warn(&starved);
    }
}

#[cold]
fn warn(starved: &Starved) {
    let Starved { id, name, cpu, frames } = starved;
    let (cpu, name) = (*cpu, name.as_str());
    let queued = smp::cpus().get(cpu.index()).and_then(mechanism::of).map_or(0, |cpu| cpu.backlog.queued());
    let idle = if idle_set::contains(cpu) { ", and is idle" } else { "" };
    console::warn(Warning {
        cpu: cpu.0,
        kind: "thread",
        message: LineBuffer::format(format_args!(
            "thread {id} {name:?} is ready, not run for {WATCHDOG_MS} ms; cpu {cpu} has {queued} queued{idle}"
        )),
        wait: None,
        rip: None,
        slide: boot::handoff().slide,
        frames: frames.clone(),
    });
}
