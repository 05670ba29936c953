//! The path of an AP from the trampoline to the idle loop.

use core::sync::atomic::{AtomicU32, Ordering};

use ap_trampoline::{ApSlot, SlotState, Stage};

use super::super::{cpus, hotplug, work};
use crate::acpi::{CpuEntry, Platform};
use crate::apic;
use crate::cpu::registers::{halt_forever, read_tsc};
use crate::cpu::{self, CpuId, IrqGuard, load_descriptors};
use crate::interrupts::machine_check::Since;
use crate::memory;
use crate::memory::stacks;
use crate::wire::Record;
use crate::{console, interrupts, patchable, time, trace};

/// What every AP reads during bring-up.
static COMMON: spin::Once<Common> = spin::Once::new();

struct Common {
    root: u64,
    platform: Platform,
}

/// The APs that found no slot, or found that it was given up. The trampoline counts here too.
pub(crate) static LATE_APS: AtomicU32 = AtomicU32::new(0);

/// NMIs and machine checks that the trampoline counted, before the AP had a per-CPU area.
pub(crate) static TRAMPOLINE_NMIS: AtomicU32 = AtomicU32::new(0);
pub(crate) static TRAMPOLINE_MACHINE_CHECKS: AtomicU32 = AtomicU32::new(0);

/// The APs whose APIC ID by CPUID differs from that of their local APIC.
static WRONG_IDS: AtomicU32 = AtomicU32::new(0);

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
pub(crate) fn set_common(platform: Platform) {
    COMMON.call_once(|| Common { root: memory::root(), platform });
}

/// The entry point of an AP in long mode. The AP runs on its own stack with interrupts off; its GS base and FS base are
/// set, and the early GDT and IDT are loaded. An AP that was offline returns from here to [`hotplug::resume`]; until then
/// the BSP serves its timers.
pub(crate) extern "C" fn entry(slot: &'static ApSlot) -> ! {
    let Some(common) = COMMON.get() else { halt_forever() };
    // SAFETY: `common.root` is the kernel's root table (`set_common`), which maps this code and the AP's stack at the
    // same addresses as the trampoline tables.
    unsafe { memory::load_root(common.root) };
    cpu::set_memory_types();
    let cpu = CpuId(slot.cpu);
    // SAFETY: the trampoline has set GS base to this CPU's area and jumps here with interrupts off. An AP that was
    // offline has one more guard on its stack, that of `hotplug::teardown::go_offline`; this guard is forgotten below
    // before that one is used.
    let guard = unsafe { IrqGuard::of_entry() };
    // INIT may have ended an NMI handler on a CPU that was offline. Its magazine was drained before it halted.
    interrupts::reset_nmi_depth(&guard);
    memory::reset_cache(&guard);
    enter_stage(slot, Stage::Gs);
    // SAFETY: this CPU runs on rt0's GDT, and the trampoline has set GS base to its area; `bring_up::prepare` has mapped
    // its IST stacks.
    unsafe { load_descriptors(&guard, stacks::ist_tops(cpu)) };
    // SAFETY: the gates name the code selector and the IST stacks of the GDT and the TSS, which the line above has loaded.
    unsafe { interrupts::load_idt() };
    if TRAMPOLINE_MACHINE_CHECKS.load(Ordering::Relaxed) > 0
        && cpu::machine_check::global_status().is_in_progress()
    {
        interrupts::machine_check::report_deferred();
    }
    let left_at = cpus()[cpu.index()].context();
    let since = if left_at.is_some() { Since::Online } else { Since::BeforeBoot };
    interrupts::machine_check::enable(since);
    enter_stage(slot, Stage::Idt);
    let CpuEntry { uid, node, .. } = common.platform.cpus[cpu.index()];
    memory::set_local_node(&guard, node);
    apic::enable(&guard, common.platform.nmi_pins, uid);
    if left_at.is_none() && cpu::initial_apic_id().0 != slot.apic_id {
        WRONG_IDS.fetch_add(1, Ordering::Relaxed);
    }
    enter_stage(slot, Stage::Apic);
    if left_at.is_none() {
        time::timer::start(&guard);
    }
    enter_stage(slot, Stage::Timer);
    enter_stage(slot, Stage::Online);
    let claimed = SlotState::Claimed as u32;
    let online = SlotState::Online as u32;
    if slot.state.compare_exchange(claimed, online, Ordering::AcqRel, Ordering::Acquire).is_err() {
        park_late_ap();
    }
    if let Some(context) = left_at {
        // `go_offline` continues with its own guard.
        core::mem::forget(guard);
        before_resume();
        // SAFETY: `suspend` has stored `context` on this CPU. `restart_ap` made the trampoline begin the stack at
        // `context`, so everything above it is unchanged. Interrupts are off.
        unsafe { hotplug::resume(context) };
    }
    drop(guard);
    log::debug!("online on {node}");
    work::idle()
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
fn park_late_ap() -> ! {
    LATE_APS.fetch_add(1, Ordering::AcqRel);
    halt_forever()
}
