//! The counters at the end of a run, and its verdict.

use core::sync::atomic::Ordering;

use super::{Reason, memory as frames, times, trace};
use crate::boot::unreported_defects;
use crate::console::{self, LineBuffer};
use crate::cpu::registers::exit;
use crate::interrupts::{self, Vector};
#[cfg(feature = "checked")]
use crate::sync::lock_order;
use crate::wire::{self, ExitCode, Record};
use crate::{memory, smp};

/// The number of interrupts on a vector for each CPU, in order; 0 for a CPU without a per-CPU area.
fn interrupts_by_cpu(vector: Vector) -> impl Iterator<Item = u64> {
    smp::cpus().iter().map(move |cpu| {
        let counts = cpu.get(interrupts::COUNTS);
        counts.map_or(0, |counts| counts[usize::from(vector.get())].load(Ordering::Relaxed))
    })
}

fn interrupts_on(vector: Vector) -> u64 {
    interrupts_by_cpu(vector).sum()
}

/// Sends the interrupt counts: for each vector with any, a record for every [`wire::COUNTS_IN_RECORD`] CPUs.
fn interrupt_counts() {
    for vector in (0..=255).map(Vector::new).filter(|vector| interrupts_on(*vector) > 0) {
        let mut counts = interrupts_by_cpu(vector);
        for first_cpu in (0..smp::cpus().len() as u32).step_by(wire::COUNTS_IN_RECORD) {
            console::send(&Record::Interrupts(wire::Interrupts {
                vector: vector.get(),
                name: interrupts::name(vector),
                first_cpu,
                counts: counts.by_ref().take(wire::COUNTS_IN_RECORD).collect(),
            }));
        }
    }
}

/// Sends the final counters and the verdict, and ends the run.
pub(crate) fn verdict(outcome: Result<(), Reason>) -> ! {
    let code = finish(outcome);
    exit(code)
}

/// Sends the final counters and the verdict pass, and resets the machine by `reset`.
#[cfg(feature = "shell")]
pub(crate) fn verdict_and_reset(reset: fn() -> !) -> ! {
    finish(Ok(()));
    console::send_last(&Record::Reset);
    reset()
}

/// Sends the final counters and the verdict. Returns the exit code of the verdict.
fn finish(outcome: Result<(), Reason>) -> ExitCode {
    interrupt_counts();
    times::boot_stages();
    times::lateness();
    frames::frame_counts();
    if outcome.is_ok() {
        frames::heap_counts();
        frames::live_heap_objects();
    }
    frames::mapping_counts();
    frames::send_zone_counts(true);
    #[cfg(feature = "checked")]
    for (name, value) in
        ["classes", "orders", "forgotten"].into_iter().zip(lock_order::totals().unwrap_or_default())
    {
        console::send(&Record::number("locks.order", name, value));
    }
    let unexpected = smp::cpus().iter().filter_map(|cpu| cpu.get(interrupts::UNEXPECTED));
    console::send(&Record::Events(wire::Events {
        invalid_frees: memory::frames().double_frees_caught() as u64,
        spurious: interrupts::pic::vectors().chain([Vector::SPURIOUS]).map(interrupts_on).sum(),
        unexpected_interrupts: unexpected.map(|count| count.load(Ordering::Relaxed)).sum(),
        timer_interrupts: interrupts_on(Vector::TIMER),
        ipi_call_timeouts: smp::call_timeouts(),
        watchdog_alarms: smp::watchdog_alarms(),
        watchdog_recoveries: smp::watchdog_recoveries(),
        lock_stalls: smp::lock_stalls(),
        unexpected_nmis: smp::nmis(),
        log_lines_lost: console::lines().lost,
        late_cpus_parked: smp::late_aps(),
    }));
    match unreported_defects() {
        0 => {}
        count => {
            log::warn!("{count} more defects of firmware or boot loader tables were not logged")
        }
    }
    match smp::late_aps() {
        0 => {}
        1 => log::warn!("1 CPU came online late and was parked"),
        count => log::warn!("{count} CPUs came online late and were parked"),
    }
    let reason = outcome.err().map(|reason| LineBuffer::<400>::format(format_args!("{reason}")));
    let reason = reason.as_ref().map(LineBuffer::as_str);
    match reason {
        None => log::info!("pass"),
        Some(reason) => log::error!("fail: {reason}"),
    }
    trace::send();
    if reason.is_none() {
        super::memory::release_cached();
    }
    console::send_last(&Record::Verdict(wire::Verdict {
        pass: reason.is_none(),
        reason,
        free_frames_after: memory::frames().free_frames() as u64,
    }));
    if reason.is_none() { ExitCode::Pass } else { ExitCode::Fail }
}
