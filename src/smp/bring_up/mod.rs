//! Waking the application processors.
//!
//! All of them run the trampoline at once. What each needs lies ready in a slot that it finds by its APIC ID, so none
//! waits for another, and none can take what is another's. The boot processor calls them in [`rounds`]; [`trampoline`]
//! is the page that they wake up in, [`ap`] their way from there to their first idle moment. They have time as long as any
//! of them comes further; then it is decided: from there on a CPU is online, or given up for good. One that answers later
//! goes away again, on a stack, an area and a slot that are nobody else's, for none of them is ever used again.

mod ap;
mod rounds;
mod trampoline;

use core::fmt;
use core::sync::atomic::Ordering;

use ap_trampoline::{Slot, SlotState, Stage};

use super::{CPUS, Cpu, drain, nmi, ranks, work};
use crate::acpi::expected::ExpectedCpus;
use crate::acpi::{CpuEntry, Platform};
use crate::apic::ApicError;
use crate::config::{AP_PROGRESS_MS, PROGRESS_MS};
use crate::cpu::per_cpu;
use crate::cpu::registers::read_tsc;
use crate::cpu::{self, Features, IrqGuard, thread};
use crate::memory::frames::Order;
use crate::memory::stacks::{self, Stack};
use crate::memory::{self, LowMemory, MapError};
use crate::sync::hotplug::{Word, give_up_slot};
use crate::sync::{Deadline, Timeout};
use crate::wire::{BringUpProgress, Record};
use crate::{console, interrupts, patchable, trace};

pub use ap::{sent_away, trampoline_nmis};
use rounds::Rounds;
use trampoline::Trampoline;
#[cfg(feature = "faults")]
pub use {
    ap::{reached, returns},
    trampoline::{fill_pages, hold, let_go, wait_while_held},
};

/// Why the other CPUs could not even be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmpError {
    /// Memory for tables, areas or stacks.
    OutOfMemory {
        /// How many CPUs there are.
        cpus: usize,
        /// What each takes, in bytes.
        bytes_per_cpu: u64,
        /// Bytes that were free.
        free_bytes: u64,
    },
    /// Page tables or stacks.
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

/// How it went.
#[derive(Clone, Copy, Debug)]
pub struct BringUp {
    /// CPUs online, the boot processor among them.
    pub online: u32,
    /// CPUs that were listed.
    pub listed: u32,
    /// How many there must be.
    pub expected: ExpectedCpus,
    /// The TSC when the first INIT was sent.
    pub first_init_tsc: u64,
    /// The TSC when the last CPU came online.
    pub last_online_tsc: u64,
    /// The calls themselves.
    pub rounds: Rounds,
    /// The page that the processors woke up in, physical; 0 where there was none.
    pub trampoline_page: u64,
    /// Whether the pages beside it have stayed as they were. Only a kernel with deliberate faults built in has them to
    /// itself and can tell.
    pub neighbours_intact: bool,
    /// What each further CPU costs in memory, in bytes: `BYTES_PER_CPU`, its area, and its ring of trace events.
    pub bytes_per_cpu: u64,
    /// Frames that all of them took together, page tables included.
    pub frames_taken: u64,
}

/// What a CPU takes beside its area: its stacks, and its lines in the tables.
const BYTES_PER_CPU: u64 =
    stacks::BYTES_PER_CPU + (size_of::<Cpu>() + size_of::<Slot>() + size_of::<CpuEntry>()) as u64;

/// How many CPUs that did not start are logged each for itself.
const MAX_MISSING_LOGGED: usize = 4;

/// Brings up all CPUs. Once, by the boot processor, interrupts off; waits for them as long as any comes further.
pub fn start(
    _guard: &IrqGuard,
    platform: Platform,
    features: &Features,
    low: Option<LowMemory>,
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
    ap::set_common(platform);
    interrupts::register(interrupts::Vector::WAKE, "wake", work::wake_interrupt);
    drain::register();
    nmi::register();

    bsp.gs_base.store(per_cpu::gs_base() as u64, Ordering::Relaxed);
    bsp.stage.store(Stage::Online as u64, Ordering::Relaxed);
    bsp.stamps[Stage::Online as usize].store(read_tsc(), Ordering::Relaxed);
    bsp.hotplug.step(Word::start);
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
    let ring_bytes = give_trace_rings(aps);
    let frames_taken = free_before.saturating_sub(memory::frames().free_frames()) as u64;
    let first_init_tsc = read_tsc();
    let rounds = trampoline.map(|trampoline| wake_all(cpus, trampoline));
    ranks::count_first();
    Ok(BringUp {
        online: super::online().count() as u32,
        listed: cpus.len() as u32,
        expected: platform.expected,
        first_init_tsc,
        last_online_tsc: super::online()
            .filter_map(|cpu| cpu.stamp(Stage::Online))
            .fold(first_init_tsc, u64::max),
        rounds: rounds.unwrap_or_default(),
        trampoline_page,
        neighbours_intact: trampoline.is_none_or(Trampoline::neighbours_are_intact),
        bytes_per_cpu: BYTES_PER_CPU + per_cpu::area_bytes() as u64 + ring_bytes,
        frames_taken,
    })
}

/// Everything that costs memory, before the first CPU is called.
fn prepare(
    aps: &'static [Cpu],
    low: LowMemory,
    features: &Features,
) -> Result<&'static Trampoline, MapError> {
    // Those that cannot be called need nothing.
    let reachable = aps.iter().filter(|ap| ap.is_reachable());
    let mut areas = memory::CpuAreas::for_cpus(reachable.clone().count());
    for ap in reachable.clone() {
        let gs_base = areas.make().ok_or(MapError::OutOfFrames)?;
        let stack = stacks::bottom(ap.id(), Stack::Main)..stacks::top(ap.id(), Stack::Main);
        // SAFETY: the area was just made, for the kernel's lifetime, and its CPU does not run yet.
        unsafe { cpu::prepare_area(gs_base, ap.id(), stack) };
        ap.gs_base.store(gs_base as u64, Ordering::Relaxed);
        memory::map_stacks(ap.id())?;
    }
    let slots = memory::alloc_slice_from(reachable.map(slot_for)).ok_or(MapError::OutOfFrames)?;
    // The trampoline looks for a processor's slot by bisection.
    slots.sort_unstable_by_key(|slot| slot.apic_id);
    // The passage shares the kernel's root entries, so it comes after the stacks, whose region has one of its own.
    let passage = low.build()?;
    trampoline::prepare(passage, slots, features.skip_init_delay)
}

/// Gives each CPU that has an area its ring for the trace; how many bytes each is. Without the memory for it, a CPU records
/// nothing.
fn give_trace_rings(aps: &[Cpu]) -> u64 {
    let slots = trace::slots_wanted();
    let mut rest: &'static [trace::ring::Slot] = &[];
    for gs_base in aps.iter().filter(|_| slots > 0).filter_map(Cpu::gs_base) {
        if rest.len() < slots {
            // Small rings share a page.
            let least = Order::FRAME.bytes() / size_of::<trace::ring::Slot>();
            let Some(fresh) = memory::alloc_slice_zeroed(slots.max(least)) else { break };
            rest = fresh;
        }
        let (ring, left) = rest.split_at(slots);
        rest = left;
        // SAFETY: the area was just made, for good, and its CPU does not run yet.
        unsafe { trace::give_ring(gs_base, ring) };
    }
    (slots * size_of::<trace::ring::Slot>()) as u64
}

fn wake_all(cpus: &'static [Cpu], trampoline: &Trampoline) -> Rounds {
    let slots = trampoline.slots();
    let rounds = rounds::call(slots, trampoline);
    wait_while_any_comes_on(slots, trampoline);
    let mut missing = 0;
    for slot in slots {
        let ap = &cpus[slot.cpu as usize];
        let is_missing = !settle(slot);
        missing += usize::from(is_missing);
        if is_missing && missing <= MAX_MISSING_LOGGED {
            log::error!(
                "cpu {} (APIC ID {}): last seen in stage {}, and no CPU has come further for {AP_PROGRESS_MS} ms",
                ap.id(),
                ap.entry.apic_id,
                trampoline.last_seen(slot)
            );
        }
        ap.stage.store(trampoline.last_seen(slot) as u64, Ordering::Relaxed);
        for (stage, (to, from)) in ap.stamps.iter().zip(&slot.stamps).enumerate() {
            // A CPU stamps that stage before it knows whether it is awaited: one that was given up has not come.
            if !(is_missing && stage == Stage::Online as usize) {
                to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        if is_online(slot) {
            ap.hotplug.step(Word::start);
            ap.online.store(1, Ordering::Release);
        }
    }
    if let more @ 1.. = missing.saturating_sub(MAX_MISSING_LOGGED) {
        log::error!("{more} more CPUs did not start");
    }
    settled();
    ap::warn_of_wrong_ids();
    rounds
}

/// Waits until all are online, or none of them has come a stage further for [`AP_PROGRESS_MS`]. How it ends for each is
/// decided later, by its own slot.
///
/// A host that gives all of them one core, or a tenth of one, lets them come one after the other, so no time from the
/// first INIT on would tell a late CPU from a dead one. The wait ends all the same: there are only so many stages.
fn wait_while_any_comes_on(slots: &[Slot], trampoline: &Trampoline) {
    let all_online = || slots.iter().all(is_online);
    let stages = || slots.iter().map(|slot| trampoline.last_seen(slot) as usize).sum::<usize>();
    let mut seen = stages();
    let mut next_word = Deadline::after_ms(PROGRESS_MS);
    while !all_online() {
        if Timeout::after_ms(AP_PROGRESS_MS).wait_until(|| stages() != seen || all_online()).is_err() {
            return;
        }
        seen = stages();
        if next_word.has_passed() {
            let online = slots.iter().filter(|slot| is_online(slot)).count();
            let progress = BringUpProgress { called: slots.len() as u32 + 1, online: online as u32 + 1 };
            console::send(&Record::BringUpProgress(progress));
            next_word = Deadline::after_ms(PROGRESS_MS);
        }
    }
}

/// A CPU that has been called again.
pub struct Again {
    slot: &'static Slot,
    trampoline: &'static Trampoline,
}

/// Restarts a CPU that is offline, the way that it came up first; it enters below what it left on its stack. Returns when it
/// has reached real mode, or when no more start-up interrupts will help. One CPU at a time.
///
/// # Errors
/// No INIT, or no start-up interrupt after it, could be sent. The CPU is where it was, and can be restarted later.
///
/// # Panics
/// If the CPU has not been online.
pub fn call_again(cpu: &'static Cpu) -> Result<Again, ApicError> {
    let found = trampoline::ready()
        .and_then(|trampoline| Some((trampoline, trampoline.slot_of(cpu.entry.apic_id)?, cpu.context()?)));
    let Some((trampoline, slot, context)) = found else {
        unreachable!("cpu {} is offline and has never been online", cpu.id());
    };
    slot.stack_top.store(context, Ordering::Relaxed);
    slot.stage.store(Stage::SipiSent as u32, Ordering::Relaxed);
    trampoline.clear_marks(slot);
    // Release: all that it reads once it has claimed the slot.
    slot.state.store(SlotState::Waiting as u32, Ordering::Release);
    let rounds = rounds::call(core::slice::from_ref(slot), trampoline);
    let is_unsent = rounds.inits == 0 || rounds.start_up_messages == 0;
    match rounds.unsent.filter(|_| is_unsent) {
        // Unless it has come all the same.
        Some(error) if change_state(slot, SlotState::Waiting, SlotState::Online) => Err(error),
        _ => Ok(Again { slot, trampoline }),
    }
}

fn change_state(slot: &Slot, from: SlotState, to: SlotState) -> bool {
    slot.state.compare_exchange(from as u32, to as u32, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

impl Again {
    /// Decides whether it has come, as at boot; if not, it never will.
    pub fn settle(&self) -> bool {
        settle(self.slot)
    }

    /// Where it was last seen.
    pub fn last_seen(&self) -> Stage {
        self.trampoline.last_seen(self.slot)
    }
}

patchable! {
    /// Called when it is decided for each CPU whether it is online.
    pub fn settled() {}
}

fn slot_for(ap: &Cpu) -> Slot {
    Slot {
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

fn is_online(slot: &Slot) -> bool {
    slot.state.load(Ordering::Acquire) == SlotState::Online as u32
}

/// Decides whether a processor is online: from here on it is, or it finds that nobody waits for it. Its stack, area and
/// slot are never used again, for it may stand anywhere.
fn settle(slot: &Slot) -> bool {
    slot.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, give_up_slot).is_err()
}
