//! The path of an AP from the trampoline to the idle loop.

use core::sync::atomic::Ordering;

use ap_trampoline::{ApSlot, SlotState, Stage};

use super::bring_up::{
    self, BringUp, COMMON, SmpError, TRAMPOLINE_MACHINE_CHECKS, WRONG_IDS, before_resume, enter_stage,
    park_late_ap,
};
use super::{cpus, drain, hotplug, shootdown, work};
use crate::acpi::{CpuEntry, Platform};
use crate::apic;
use crate::cpu::registers::halt_forever;
use crate::cpu::{self, CpuId, Features, IrqGuard, load_descriptors};
use crate::interrupts::machine_check::Since;
use crate::memory::{LowMemory, stacks};
use crate::{interrupts, memory, time};

/// Brings up all APs: [`bring_up::start`] with [`entry`]. Registers the hooks that drain other CPUs' frame
/// caches and flush their TLBs.
///
/// **Context:** thread on the BSP, once, interrupts off.
///
/// # Errors
/// See [`SmpError`].
pub(crate) fn start(
    guard: &IrqGuard,
    platform: Platform,
    features: &Features,
    low: Option<LowMemory>,
) -> Result<BringUp, SmpError> {
    drain::register();
    shootdown::register();
    bring_up::start(guard, platform, features, low, entry)
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
    memory::end_lazy(&guard);
    drop(guard);
    log::debug!("online on {node}");
    work::idle()
}
