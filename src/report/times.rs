//! Reports of the times of the boot stages, and of the lateness of timers.

use crate::wire::{self, Record};
use crate::{console, smp, time};

use super::trace;

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
