//! AP bring-up.
//!
//! All APs run the trampoline at once. Each finds its own slot by its APIC ID, so no AP waits for another, and no AP can
//! take another's stack or area. [`init_sipi`] sends INIT and the start-up IPIs. [`trampoline`] is the page that the APs
//! wake up in. `smp::ap` is their path from there to the idle loop. The BSP waits as long as any AP makes progress. Then it
//! finalises each slot: the CPU is online, or its slot is given up permanently. An AP that arrives later finds that its
//! slot is given up, and halts. Its stack, area and slot are never reused.

mod ap_state;
mod init_sipi;
mod trampoline;

use core::fmt;
use core::sync::atomic::Ordering;

use ap_trampoline::{ApSlot, SlotState, Stage};

use super::{CPUS, Cpu, lock_stall, nmi, online_set, scheduler, wake, watchdog};
use crate::acpi::expected::ExpectedCpus;
use crate::acpi::{CpuEntry, Platform};
use crate::apic::ApicError;
use crate::config::{AP_BRINGUP_TIMEOUT_MS, PROGRESS_MS};
use crate::cpu::per_cpu;
use crate::cpu::registers::read_tsc;
use crate::cpu::{self, Features, IrqGuard, thread};
use crate::memory::frames::Order;
use crate::memory::stacks::{self, Stack};
use crate::memory::{self, LowMemory, MapError};
use crate::sync::hotplug::{StateWord, give_up_slot};
use crate::sync::{Deadline, Timeout};
use crate::wire::{BringUpProgress, Record};
use crate::{console, interrupts, patchable, trace};

pub(crate) use ap_state::{
    COMMON, Entry, TRAMPOLINE_MACHINE_CHECKS, WRONG_IDS, before_resume, enter_stage, late_aps, park_late_ap,
};
use init_sipi::InitSipiSequence;
use trampoline::Trampoline;
pub(crate) use trampoline::trampoline_code;
#[cfg(feature = "faults")]
pub(crate) use trampoline::{fill_pages, held_ap, protect_code, release_ap, wait_while_held};

/// Why bring-up could not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SmpError {
    /// There is no memory for the CPUs' tables, areas or stacks.
    OutOfMemory {
        /// The number of CPUs.
        cpus: usize,
        /// The memory that each needs, in bytes.
        bytes_per_cpu: u64,
        /// The free memory, in bytes.
        free_bytes: u64,
    },
    /// A stack, or the trampoline's page tables, could not be mapped.
    Map(MapError),
}

impl fmt::Display for SmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SmpError::OutOfMemory { cpus, bytes_per_cpu, free_bytes } => write!(
                f,
                "too little memory for the CPUs' areas and stacks: {cpus} CPUs take {} KiB each, {} KiB are free \
                 (max_cpus= limits the CPUs)",
                bytes_per_cpu.div_ceil(1024),
                free_bytes / 1024
            ),
            SmpError::Map(error) => write!(f, "the CPUs' stacks: {error}"),
        }
    }
}

/// The outcome of bring-up.
#[derive(Clone, Copy, Debug)]
pub struct BringUp {
    /// The number of online CPUs, the BSP included.
    pub online: u32,
    /// The number of CPUs that the firmware lists.
    pub listed: u32,
    /// The number of CPUs that must be online.
    pub expected: ExpectedCpus,
    /// The TSC when the first INIT was sent.
    pub first_init_tsc: u64,
    /// The TSC when the last CPU came online.
    pub last_online_tsc: u64,
    /// The INIT-SIPI sequence.
    pub init_sipi: InitSipiSequence,
    /// The physical address of the trampoline page, or 0 if there is none.
    pub trampoline_page: u64,
    /// Whether the pages beside the trampoline are unchanged. Only a kernel with the feature `faults` owns these pages
    /// and checks them.
    pub neighbours_intact: bool,
    /// The memory that each CPU takes, in bytes: `BYTES_PER_CPU`, its area, and its ring of trace events.
    pub bytes_per_cpu: u64,
    /// The frames that all CPUs together took, page tables included.
    pub frames_taken: u64,
}

/// The memory of a CPU beside its area: its stacks and its table entries, in bytes.
const BYTES_PER_CPU: u64 =
    stacks::BYTES_PER_CPU + (size_of::<Cpu>() + size_of::<ApSlot>() + size_of::<CpuEntry>()) as u64;

/// The most CPUs that did not start and are logged one by one.
const MAX_MISSING_LOGGED: usize = 4;

/// Brings up all APs, which enter the kernel at `entry`.
///
/// **Context:** thread on the BSP, once, interrupts off. Spins until all are online or none has made progress for
/// [`AP_BRINGUP_TIMEOUT_MS`].
///
/// # Errors
/// See [`SmpError`]. No AP was started. An AP that does not come online is no error: it is logged, and missing in
/// [`BringUp::online`].
pub(crate) fn start(
    _guard: &IrqGuard,
    platform: Platform,
    features: &Features,
    low: Option<LowMemory>,
    entry: Entry,
) -> Result<BringUp, SmpError> {
    let free_before = memory::frames().free_frames();
    let no_memory = SmpError::OutOfMemory {
        cpus: platform.cpus.len(),
        bytes_per_cpu: BYTES_PER_CPU + per_cpu::area_bytes() as u64,
        free_bytes: Order::FRAME.bytes() as u64 * free_before as u64,
    };
    let cpus = memory::alloc_slice_from(platform.cpus.iter().map(|entry| Cpu::new(*entry)));
    let cpus = *CPUS.call_once(|| cpus.map(|cpus| &*cpus).unwrap_or_default());
    let (bsp, aps) = cpus.split_first().ok_or(no_memory)?;
    ap_state::set_common(platform, entry);
    interrupts::register(interrupts::Vector::WAKE, "wake", wake::wake_interrupt);
    interrupts::register(interrupts::Vector::RESCHEDULE, "reschedule", scheduler::interrupt);
    nmi::register();
    watchdog::register();
    lock_stall::register();

    bsp.gs_base.store(per_cpu::gs_base() as u64, Ordering::Relaxed);
    bsp.stage.store(Stage::Online as u64, Ordering::Relaxed);
    bsp.stamps[Stage::Online as usize].store(read_tsc(), Ordering::Relaxed);
    bsp.hotplug.step(StateWord::start);
    bsp.online.store(1, Ordering::Release);

    let trampoline_page = low.as_ref().map_or(0, LowMemory::page);
    let trampoline = match low {
        _ if aps.is_empty() => None,
        None => {
            log::warn!("no free page below 1 MiB for the AP trampoline: no AP is started");
            None
        }
        Some(low) => Some(prepare(aps, low, features).map_err(|error| match error {
            MapError::OutOfFrames => no_memory,
            error => SmpError::Map(error),
        })?),
    };
    let ring_bytes = allocate_trace_rings(aps);
    let frames_taken = free_before.saturating_sub(memory::frames().free_frames()) as u64;
    let first_init_tsc = read_tsc();
    let init_sipi = trampoline.map(|trampoline| start_aps(cpus, trampoline));
    online_set::number_at_boot();
    Ok(BringUp {
        online: super::online().count() as u32,
        listed: cpus.len() as u32,
        expected: platform.expected,
        first_init_tsc,
        last_online_tsc: super::online()
            .filter_map(|cpu| cpu.stamp(Stage::Online))
            .fold(first_init_tsc, u64::max),
        init_sipi: init_sipi.unwrap_or_default(),
        trampoline_page,
        neighbours_intact: trampoline.is_none_or(Trampoline::neighbours_are_intact),
        bytes_per_cpu: BYTES_PER_CPU + per_cpu::area_bytes() as u64 + ring_bytes,
        frames_taken,
    })
}

/// Allocates everything that the APs need, before the first is started.
fn prepare(
    aps: &'static [Cpu],
    low: LowMemory,
    features: &Features,
) -> Result<&'static Trampoline, MapError> {
    // An AP that no IPI can reach needs nothing.
    let reachable = aps.iter().filter(|ap| ap.is_reachable());
    let mut areas = memory::CpuAreas::for_cpus(reachable.clone().count());
    for ap in reachable.clone() {
        let gs_base = areas.make().ok_or(MapError::OutOfFrames)?;
        let stack = stacks::bottom(ap.id(), Stack::Main)..stacks::top(ap.id(), Stack::Main);
        // SAFETY: `CpuAreas::make` has just made the area, which is never freed; its CPU does not run before `start_aps`.
        unsafe { cpu::prepare_area(gs_base, ap.id(), stack) };
        ap.gs_base.store(gs_base as u64, Ordering::Relaxed);
        memory::map_stacks(ap.id())?;
    }
    let slots = memory::alloc_slice_from(reachable.map(slot_for)).ok_or(MapError::OutOfFrames)?;
    // The trampoline finds the AP's slot by binary search.
    slots.sort_unstable_by_key(|slot| slot.apic_id);
    // The trampoline tables share the kernel's root entries. The stack region has one of its own, so they come after the
    // stacks.
    let tables = low.build()?;
    trampoline::prepare(tables, slots, features.skip_init_delay)
}

/// Gives each AP that has an area its trace ring. Returns the size of a ring, in bytes. A CPU without a ring, for lack of
/// memory, records no events.
fn allocate_trace_rings(aps: &[Cpu]) -> u64 {
    let slots = trace::ring_slots();
    let mut rest: &'static [trace::ring::EventSlot] = &[];
    for gs_base in aps.iter().filter(|_| slots > 0).filter_map(Cpu::gs_base) {
        if rest.len() < slots {
            // Small rings share a page.
            let least = Order::FRAME.bytes() / size_of::<trace::ring::EventSlot>();
            let Some(fresh) = memory::alloc_slice_zeroed(slots.max(least)) else { break };
            rest = fresh;
        }
        let (ring, left) = rest.split_at(slots);
        rest = left;
        // SAFETY: `prepare` has just made the area, which is never freed; its CPU does not run before `start_aps`.
        unsafe { trace::install_ring(gs_base, ring) };
    }
    (slots * size_of::<trace::ring::EventSlot>()) as u64
}

fn start_aps(cpus: &'static [Cpu], trampoline: &Trampoline) -> InitSipiSequence {
    let slots = trampoline.slots();
    let sequence = init_sipi::send_all(slots, trampoline);
    wait_while_progressing(slots, trampoline);
    let mut missing = 0;
    for slot in slots {
        let ap = &cpus[slot.cpu as usize];
        let is_missing = !finalize_slot(slot);
        missing += usize::from(is_missing);
        if is_missing && missing <= MAX_MISSING_LOGGED {
            log::error!(
                "cpu {} (APIC ID {}): timed out in stage {} (no AP made progress for {AP_BRINGUP_TIMEOUT_MS} ms)",
                ap.id(),
                ap.entry.apic_id,
                trampoline.last_seen(slot)
            );
        }
        ap.stage.store(trampoline.last_seen(slot) as u64, Ordering::Relaxed);
        for (stage, (to, from)) in ap.stamps.iter().zip(&slot.stamps).enumerate() {
            // A CPU stamps the stage `Online` before it checks its slot. One whose slot was given up is not online.
            if !(is_missing && stage == Stage::Online as usize) {
                to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        if is_online(slot) {
            ap.hotplug.step(StateWord::start);
            ap.online.store(1, Ordering::Release);
        }
    }
    if let more @ 1.. = missing.saturating_sub(MAX_MISSING_LOGGED) {
        log::error!("{more} more CPUs did not start");
    }
    bringup_complete();
    ap_state::warn_of_wrong_ids();
    sequence
}

/// Waits until all APs are online, or none has reached a further stage for [`AP_BRINGUP_TIMEOUT_MS`]. The caller then
/// finalises each slot.
///
/// Each further stage renews the time-out. A host may run all APs on one core, one after the other, so no fixed time
/// since the first INIT distinguishes a late AP from a dead one. The wait ends because the number of stages is fixed.
fn wait_while_progressing(slots: &[ApSlot], trampoline: &Trampoline) {
    let all_online = || slots.iter().all(is_online);
    let stages = || slots.iter().map(|slot| trampoline.last_seen(slot) as usize).sum::<usize>();
    let mut seen = stages();
    let mut next_record = Deadline::after_ms(PROGRESS_MS);
    while !all_online() {
        if Timeout::after_ms(AP_BRINGUP_TIMEOUT_MS).wait_until(|| stages() != seen || all_online()).is_err() {
            return;
        }
        seen = stages();
        if next_record.has_passed() {
            let online = slots.iter().filter(|slot| is_online(slot)).count();
            let progress = BringUpProgress { called: slots.len() as u32 + 1, online: online as u32 + 1 };
            console::send(&Record::BringUpProgress(progress));
            next_record = Deadline::after_ms(PROGRESS_MS);
        }
    }
}

/// A CPU that has been restarted.
pub(crate) struct RestartedAp {
    slot: &'static ApSlot,
    trampoline: &'static Trampoline,
}

/// Restarts an offline CPU by INIT and start-up IPIs. The CPU enters the kernel below the context that it saved on its
/// stack. Returns when the CPU has reached real mode, or after the last start-up IPI.
///
/// **Context:** thread, under the hotplug lock.
///
/// # Errors
/// The INIT, or each start-up IPI after it, could not be sent. The CPU is offline as before and can be restarted later.
///
/// # Panics
/// If the CPU has never been online.
pub(crate) fn restart_ap(cpu: &'static Cpu) -> Result<RestartedAp, ApicError> {
    let found = trampoline::ready()
        .and_then(|trampoline| Some((trampoline, trampoline.slot_of(cpu.entry.apic_id)?, cpu.context()?)));
    let Some((trampoline, slot, context)) = found else {
        unreachable!("cpu {} is offline and has never been online", cpu.id());
    };
    slot.stack_top.store(context, Ordering::Relaxed);
    slot.stage.store(Stage::SipiSent as u32, Ordering::Relaxed);
    trampoline.clear_marks(slot);
    // Release: publishes the stores above to the AP, which claims the slot.
    slot.state.store(SlotState::Waiting as u32, Ordering::Release);
    let sequence = init_sipi::send_all(core::slice::from_ref(slot), trampoline);
    let is_unsent = sequence.inits == 0 || sequence.start_up_messages == 0;
    match sequence.unsent.filter(|_| is_unsent) {
        // The AP may have been started all the same; then its slot is no longer `Waiting`.
        Some(error) if change_state(slot, SlotState::Waiting, SlotState::Online) => Err(error),
        _ => Ok(RestartedAp { slot, trampoline }),
    }
}

/// Returns how many external NMIs the CPUs have taken: those counted per CPU, and those that APs counted in the
/// trampoline.
///
/// **Context:** any.
pub(crate) fn nmis() -> u64 {
    let counters = super::cpus().iter().filter_map(|cpu| cpu.get(interrupts::EXTERNAL_NMIS));
    let by_cpu: u64 = counters.map(|nmis| nmis.load(Ordering::Relaxed)).sum();
    by_cpu + u64::from(ap_state::trampoline_nmis())
}

fn change_state(slot: &ApSlot, from: SlotState, to: SlotState) -> bool {
    slot.state.compare_exchange(from as u32, to as u32, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

impl RestartedAp {
    /// Finalises the CPU's slot, as at boot. Returns whether the CPU is online; if not, it never will be.
    pub(crate) fn finalize_slot(&self) -> bool {
        finalize_slot(self.slot)
    }

    /// Returns the last stage that the CPU has reached.
    pub(crate) fn last_seen(&self) -> Stage {
        self.trampoline.last_seen(self.slot)
    }
}

patchable! {
    /// Called when all slots are final. Fault injection replaces it.
    pub(crate) fn bringup_complete() {}
}

fn slot_for(ap: &Cpu) -> ApSlot {
    ApSlot {
        apic_id: ap.entry.apic_id.0,
        state: (SlotState::Waiting as u32).into(),
        stage: (Stage::SipiSent as u32).into(),
        cpu: ap.id().0,
        stack_top: stacks::top(ap.id(), Stack::Main).into(),
        gs_base: ap.gs_base.load(Ordering::Relaxed),
        fs_base: ap.gs_base().map_or(0, thread::own_address),
        stamps: Default::default(),
    }
}

fn is_online(slot: &ApSlot) -> bool {
    slot.state.load(Ordering::Acquire) == SlotState::Online as u32
}

/// Finalises a slot and returns whether its CPU is online. If it is not, the slot is given up: an AP that arrives later
/// halts. Its stack, area and slot are never reused, since it may still run on them.
fn finalize_slot(slot: &ApSlot) -> bool {
    slot.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, give_up_slot).is_err()
}
