//! What APs read and record during bring-up.

use core::sync::atomic::{AtomicU32, Ordering};

use ap_trampoline::{ApSlot, SlotState, Stage};

use crate::acpi::Platform;
use crate::cpu::registers::{halt_forever, read_tsc};
use crate::memory;
use crate::wire::Record;
use crate::{console, patchable, trace};

/// What every AP reads during bring-up.
pub(crate) static COMMON: spin::Once<Common> = spin::Once::new();

/// The entry point of an AP in long mode.
pub(crate) type Entry = extern "C" fn(&'static ApSlot) -> !;

/// See [`COMMON`].
pub(crate) struct Common {
    /// The physical address of the kernel's root table.
    pub root: u64,
    /// The platform.
    pub platform: Platform,
    /// The address of the APs' entry point in long mode.
    pub entry: u64,
}

/// The APs that found no slot, or found that it was given up. The trampoline counts here too.
pub(crate) static LATE_APS: AtomicU32 = AtomicU32::new(0);

/// NMIs and machine checks that the trampoline counted, before the AP had a per-CPU area.
pub(crate) static TRAMPOLINE_NMIS: AtomicU32 = AtomicU32::new(0);
pub(crate) static TRAMPOLINE_MACHINE_CHECKS: AtomicU32 = AtomicU32::new(0);

/// The APs whose APIC ID by CPUID differs from that of their local APIC.
pub(crate) static WRONG_IDS: AtomicU32 = AtomicU32::new(0);

/// Logs the number of APs whose APIC IDs disagree, if there are any.
pub(crate) fn warn_of_wrong_ids() {
    match WRONG_IDS.load(Ordering::Relaxed) {
        0 => {}
        count => {
            log::warn!("{count} APs: APIC ID by CPUID differs from that of the local APIC, using the latter");
            console::send(&Record::number("boot", "aps_with_other_id_by_cpuid", count.into()));
        }
    }
}

/// Returns how many NMIs the trampoline has counted.
pub(crate) fn trampoline_nmis() -> u32 {
    TRAMPOLINE_NMIS.load(Ordering::Relaxed)
}

/// Returns how many APs arrived after their slot was given up, or had none, and were parked. The number may still grow.
pub(crate) fn late_aps() -> u32 {
    LATE_APS.load(Ordering::Acquire)
}

/// Sets what the APs read. Once, before the first is started.
pub(crate) fn set_common(platform: Platform, entry: Entry) {
    let entry = entry as *const () as u64;
    COMMON.call_once(|| Common { root: memory::root(), platform, entry });
}

patchable! {
    /// Called on a CPU that returns from offline, after it has passed its bring-up slot. Fault injection replaces it.
    pub(crate) fn before_resume() {}

    /// Records a stage of bring-up. Halts this CPU if its slot was given up.
    pub(crate) fn enter_stage(slot: &ApSlot, stage: Stage) {
        stamp(slot, stage);
        if slot.state.load(Ordering::Acquire) == SlotState::GivenUp as u32 {
            park_late_ap();
        }
    }
}

fn stamp(slot: &ApSlot, stage: Stage) {
    slot.stamps[stage as usize].store(read_tsc(), Ordering::Relaxed);
    trace!(CpuStage, stage as u64);
    slot.stage.store(stage as u32, Ordering::Release);
}

/// Halts an AP whose slot was given up, on its own stack, with interrupts off.
pub(crate) fn park_late_ap() -> ! {
    LATE_APS.fetch_add(1, Ordering::AcqRel);
    halt_forever()
}
