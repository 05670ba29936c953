//! When the boot came to each of its stages, and how late timers were.

use crate::wire::{self, Record};
use crate::{console, smp, time};

use super::trace;

const _: () = assert!(wire::BootStage::ALL.len() <= wire::STAGES_IN_RECORD);

/// When the boot came to each of its stages.
pub fn boot_stages() {
    let began_us = trace::boot_stages().map(|(stage, tsc)| (stage.name(), time::us_at(tsc))).collect();
    console::send(&Record::BootStages(wire::BootStages { began_us }));
}

/// How late each CPU's timers were, where it had any.
pub fn lateness() {
    for cpu in smp::cpus() {
        let Some(gs_base) = cpu.gs_base() else { continue };
        // SAFETY: bring-up made the area, and areas live for good.
        let mut buckets = unsafe { time::timer::lateness(gs_base) }.peekable();
        while buckets.peek().is_some() {
            let buckets_ns = buckets.by_ref().take(wire::BUCKETS_IN_RECORD).collect();
            console::send(&Record::Lateness(wire::Lateness { cpu: cpu.id().0, buckets_ns }));
        }
    }
}
