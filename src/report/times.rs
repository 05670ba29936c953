//! Reports of time: the clocksource, the boot stages, and the lateness of timers.

use super::trace;
use crate::console::{self, LineBuffer};
use crate::smp;
use crate::time::{self, Clocksource};
use crate::wire::{self, Record};

const _: () = assert!(wire::BootStage::ALL.len() <= wire::STAGES_IN_RECORD);

/// Sends the time of each boot stage.
pub(crate) fn boot_stages() {
    let began_us = trace::boot_stages().map(|(stage, tsc)| (stage.name(), time::us_at(tsc))).collect();
    console::send(&Record::BootStages(wire::BootStages { began_us }));
}

/// Sends the lateness of each CPU's timers, if it had any.
pub(crate) fn lateness() {
    for cpu in smp::cpus() {
        let Some(gs_base) = cpu.gs_base() else { continue };
        // SAFETY: the base must be that of a per-CPU area that stays mapped. Bring-up allocated the area, and areas are never
        // freed.
        let mut buckets = unsafe { time::timer::lateness(gs_base) }.peekable();
        while buckets.peek().is_some() {
            let buckets_ns = buckets.by_ref().take(wire::BUCKETS_IN_RECORD).collect();
            console::send(&Record::Lateness(wire::Lateness { cpu: cpu.id().0, buckets_ns }));
        }
    }
}

/// Reports the clocksource and the TSC skew.
pub(crate) fn clocksource(counter: &Clocksource) {
    let Clocksource { name, unstable_reason, warp, skew_ns, drift_ppm } = *counter;
    trace::set_skew(warp.skew_cycles);
    let unstable_reason =
        unstable_reason.map(|unstable_reason| LineBuffer::<100>::format(format_args!("{unstable_reason}")));
    log::info!(
        "clocksource: {name}; TSC skew <= {} cycles ({skew_ns} ns), {} samples, {} CPUs; timers {}",
        warp.skew_cycles,
        warp.samples,
        warp.cpus,
        time::timer::mode().name()
    );
    console::send(&Record::Clock(wire::Clock {
        counter: name,
        unstable_reason: unstable_reason.as_ref().map(LineBuffer::as_str),
        skew_cycles: warp.skew_cycles,
        skew_ns,
        warps: warp.times,
        skew_samples: warp.samples,
        skew_cpus: warp.cpus.into(),
        drift_ppm,
        timer_mode: time::timer::mode().name(),
    }));
}
