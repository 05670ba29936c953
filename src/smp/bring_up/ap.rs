//! An application processor's way from the trampoline to its first idle moment.

use core::sync::atomic::{AtomicU32, Ordering};

use ap_trampoline::{Slot, SlotState, Stage};

use super::super::{cpus, hotplug, work};
use crate::acpi::{CpuEntry, Platform};
use crate::apic;
use crate::cpu::registers::{halt_forever, read_tsc};
use crate::cpu::{self, CpuId, IrqGuard, load_descriptors};
use crate::interrupts::machine_check::Since;
use crate::memory;
use crate::memory::stacks;
use crate::{interrupts, patchable, time, trace};

/// What every application processor reads on its way up.
static COMMON: spin::Once<Common> = spin::Once::new();

struct Common {
    root: u64,
    platform: Platform,
}

/// Processors that came when nobody waited for them. The trampoline counts here too.
pub static SENT_AWAY: AtomicU32 = AtomicU32::new(0);

/// NMIs and machine checks that the trampoline counted, for which no CPU has a counter of its own yet.
pub static TRAMPOLINE_NMIS: AtomicU32 = AtomicU32::new(0);
pub static TRAMPOLINE_MACHINE_CHECKS: AtomicU32 = AtomicU32::new(0);

/// APs whose APIC ID is another by CPUID than by their local APIC.
static WRONG_IDS: AtomicU32 = AtomicU32::new(0);

/// Warns of CPUs whose APIC IDs disagree, if there are any.
pub fn warn_of_wrong_ids() {
    match WRONG_IDS.load(Ordering::Relaxed) {
        0 => {}
        count => {
            log::warn!("{count} APs have other APIC IDs by CPUID than by their local APICs, which count")
        }
    }
}

/// NMIs that the trampoline counted.
pub fn trampoline_nmis() -> u32 {
    TRAMPOLINE_NMIS.load(Ordering::Relaxed)
}

/// How many processors came after they had been given up, or that nobody had called, and halted. Some may yet come.
pub fn sent_away() -> u32 {
    SENT_AWAY.load(Ordering::Acquire)
}

/// Sets what the processors will read, once, before they are called.
pub fn set_common(platform: Platform) {
    COMMON.call_once(|| Common { root: memory::root(), platform });
}

/// Where an application processor enters the kernel: on its own stack, GS and FS base set, the early GDT and IDT loaded,
/// interrupts off. One that has been
/// offline goes on from here to where it left; its timers are served elsewhere until then.
pub extern "C" fn entry(slot: &'static Slot) -> ! {
    let Some(common) = COMMON.get() else { halt_forever() };
    // SAFETY: the kernel's tables map what this runs and stands on, as the passage's did.
    unsafe { memory::load_root(common.root) };
    cpu::set_memory_types();
    let cpu = CpuId(slot.cpu);
    // SAFETY: the trampoline has led GS base to this CPU's area and comes here with interrupts off. Of guards on this CPU's
    // stack there is one if it has been offline, that of `hotplug::leave`, and this one is forgotten before that goes on.
    let guard = unsafe { IrqGuard::of_entry() };
    // INIT may have ended a handler of an NMI on a CPU that was offline. Its magazine was drained before it halted.
    interrupts::reset_nmi_depth(&guard);
    memory::reset_cache(&guard);
    reached(slot, Stage::Gs);
    // SAFETY: this CPU runs on rt0's GDT, and the trampoline has led GS base to its area; the stacks are this CPU's own.
    unsafe {
        load_descriptors(&guard, stacks::ist_tops(cpu));
        interrupts::load_idt();
    }
    if TRAMPOLINE_MACHINE_CHECKS.load(Ordering::Relaxed) > 0
        && cpu::machine_check::global_status().is_in_progress()
    {
        interrupts::machine_check::report_deferred();
    }
    let left_at = cpus()[cpu.index()].context();
    let since = if left_at.is_some() { Since::Online } else { Since::BeforeBoot };
    interrupts::machine_check::enable(since);
    reached(slot, Stage::Idt);
    let CpuEntry { uid, node, .. } = common.platform.cpus[cpu.index()];
    memory::set_local_node(&guard, node);
    apic::enable(&guard, common.platform.nmi_pins, uid);
    if left_at.is_none() && cpu::initial_apic_id().0 != slot.apic_id {
        WRONG_IDS.fetch_add(1, Ordering::Relaxed);
    }
    reached(slot, Stage::Apic);
    if left_at.is_none() {
        time::timer::start(&guard);
    }
    reached(slot, Stage::Timer);
    reached(slot, Stage::Online);
    let claimed = SlotState::Claimed as u32;
    let online = SlotState::Online as u32;
    if slot.state.compare_exchange(claimed, online, Ordering::AcqRel, Ordering::Acquire).is_err() {
        park_late_ap();
    }
    if let Some(context) = left_at {
        // `leave` goes on with its own.
        core::mem::forget(guard);
        returns();
        // SAFETY: this CPU left it there, and what has run since lies below it.
        unsafe { hotplug::go_on(context) };
    }
    drop(guard);
    log::debug!("online on {node}");
    work::idle()
}

patchable! {
    /// Called on a CPU that has been offline, when it is past its bring-up slot.
    pub fn returns() {}

    /// Leaves word of a stage on this CPU's way up, and goes no further if nobody waits for it any more.
    pub fn reached(slot: &Slot, stage: Stage) {
        stamp(slot, stage);
        if slot.state.load(Ordering::Acquire) == SlotState::GivenUp as u32 {
            park_late_ap();
        }
    }
}

fn stamp(slot: &Slot, stage: Stage) {
    slot.stamps[stage as usize].store(read_tsc(), Ordering::Relaxed);
    trace!(CpuStage, stage as u64);
    slot.stage.store(stage as u32, Ordering::Release);
}

/// Where a processor ends that nobody waits for: on its own stack, with interrupts off.
fn park_late_ap() -> ! {
    SENT_AWAY.fetch_add(1, Ordering::AcqRel);
    halt_forever()
}
