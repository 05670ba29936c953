//! Waking the application processors.
//!
//! All of them run the trampoline at once. What each needs lies ready in a slot that it finds by its APIC ID, so none
//! waits for another, and none can take what is another's. The boot processor sends INIT to all, waits once where the
//! processor needs that, sends the start-up interrupt to all, and again to those that have left no sign of life (SDM
//! Vol. 3A, 9.4.4.1). One deadline bounds it all.

use core::fmt;
use core::sync::atomic::Ordering;

use ap_trampoline::{
    FILLER, MAILBOX, Mailbox, PAGE_BYTES, SEEN_BITS, SEEN_PROTECTED_MODE, SEEN_REAL_MODE, Slot, SlotState,
    Stage, TablePointer,
};
use x86_64::registers::control::{Cr0, Cr4};
use x86_64::registers::model_specific::{Efer, EferFlags};

use super::{CPUS, Cpu, drain, stop, work};
use crate::acpi::Platform;
use crate::apic::{self, ApicError, Message};
use crate::boot::direct_map;
use crate::config::AP_INIT_TO_ONLINE_MS;
use crate::cpu::registers::{halt_forever, read_tsc};
use crate::cpu::{self, ApicId, CpuId, Features, IrqGuard, load_descriptors, per_cpu, thread};
use crate::interrupts;
use crate::memory::stacks::{self, Stack};
use crate::memory::{self, LowMemory, MapError, Passage};
use crate::sync::Deadline;
use crate::time::{self, Clock};

/// The wait between INIT and the start-up interrupt, for processors that need one.
const INIT_US: u64 = 10_000;

/// When to send the start-up interrupt again to those that have left no sign of life: the manual's 200 µs after the
/// first, and once more for hosts that were slow to run the processor.
const REPEAT_AFTER_US: [u64; 2] = [200, 10_000];

/// Why the other CPUs could not even be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmpError {
    /// Memory for tables, areas or stacks.
    OutOfMemory,
    /// Page tables or stacks.
    Map(MapError),
    /// The boot processor's APIC.
    Apic(ApicError),
}

impl fmt::Display for SmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SmpError::OutOfMemory => f.write_str("too little memory for the CPUs' areas and stacks"),
            SmpError::Map(MapError::OutOfFrames) => f.write_str("too little memory for the CPUs' stacks"),
            SmpError::Map(error) => write!(f, "the CPUs' stacks: {error}"),
            SmpError::Apic(error) => error.fmt(f),
        }
    }
}

/// What every application processor reads on its way up.
static COMMON: spin::Once<Common> = spin::Once::new();

struct Common {
    root: u64,
    platform: Platform,
    clock: Clock,
}

/// How it went.
#[derive(Clone, Copy, Debug)]
pub struct BringUp {
    /// CPUs online, the boot processor among them.
    pub online: u32,
    /// CPUs that were listed.
    pub listed: u32,
    /// The TSC when the first INIT was sent.
    pub first_init_tsc: u64,
    /// The TSC when the last CPU came online.
    pub last_online_tsc: u64,
}

/// Brings up all CPUs. Once, by the boot processor, interrupts off.
pub fn start(
    guard: &IrqGuard,
    platform: Platform,
    features: &Features,
    clock: Clock,
    low: Option<LowMemory>,
) -> Result<BringUp, SmpError> {
    let cpus = memory::alloc_slice_from(platform.cpus.iter().map(|entry| Cpu::new(*entry)));
    let cpus = *CPUS.call_once(|| cpus.map(|cpus| &*cpus).unwrap_or_default());
    let (bsp, aps) = cpus.split_first().ok_or(SmpError::OutOfMemory)?;
    COMMON.call_once(|| Common { root: memory::root(), platform, clock });
    interrupts::register(interrupts::Vector::WAKE, work::wake);
    drain::register();
    stop::register();

    bsp.gs_base.store(per_cpu::gs_base() as u64, Ordering::Relaxed);
    bsp.stage.store(Stage::Online as u64, Ordering::Relaxed);
    bsp.stamps[Stage::Online as usize].store(read_tsc(), Ordering::Relaxed);
    bsp.online.store(1, Ordering::Release);

    let first_init_tsc = read_tsc();
    match low {
        Some(low) if !aps.is_empty() => wake_all(guard, aps, features, low)?,
        // SAFETY: nobody has been told of it.
        Some(low) => give_back(unsafe { low.give_back() }),
        None if aps.is_empty() => {}
        None => log::warn!("no usable page below 1 MiB: the other CPUs cannot be started"),
    }
    // A rank for each, in the order of their numbers.
    for (rank, cpu) in super::online().enumerate() {
        cpu.online.store(rank as u64 + 1, Ordering::Release);
    }
    Ok(BringUp {
        online: super::online().count() as u32,
        listed: cpus.len() as u32,
        first_init_tsc,
        last_online_tsc: super::online()
            .filter_map(|cpu| cpu.stamp(Stage::Online))
            .fold(first_init_tsc, u64::max),
    })
}

fn wake_all(
    guard: &IrqGuard,
    aps: &'static [Cpu],
    features: &Features,
    low: LowMemory,
) -> Result<(), SmpError> {
    for ap in aps {
        let gs_base = memory::new_cpu_area().ok_or(SmpError::OutOfMemory)?;
        ap.gs_base.store(gs_base as u64, Ordering::Relaxed);
        memory::map_stacks(ap.id()).map_err(SmpError::Map)?;
    }
    let slots: &'static [Slot] =
        memory::alloc_slice_from(aps.iter().map(slot_for)).ok_or(SmpError::OutOfMemory)?;
    // The passage shares the kernel's root entries, so it comes after the stacks, whose region has one of its own.
    let trampoline = Trampoline::prepare(low.open().map_err(SmpError::Map)?, slots);

    let deadline = Deadline::after_ms(AP_INIT_TO_ONLINE_MS);
    let mode = apic::mode();
    let reachable =
        |slot: &&Slot| mode == apic::Mode::X2Apic || ApicId(slot.apic_id) < ApicId::XAPIC_BROADCAST;
    let send_to_all = |message: Message, slots: &mut dyn Iterator<Item = &'static Slot>| {
        for slot in slots {
            if message != Message::Init {
                let _ = slot.stamps[Stage::SipiSent as usize].compare_exchange(
                    0,
                    read_tsc(),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
            }
            // One that cannot be reached is found missing later, and named then.
            if let Err(error) = apic::send(guard, ApicId(slot.apic_id), message) {
                log::warn!("cpu {}: {error}", slot.cpu);
            }
        }
    };
    send_to_all(Message::Init, &mut slots.iter().filter(reachable));
    if !features.init_is_quick {
        Deadline::after_us(INIT_US).wait();
    }
    let start_up = Message::StartUp((trampoline.passage.page() >> 12) as u8);
    let began = read_tsc();
    send_to_all(start_up, &mut slots.iter().filter(reachable));
    for after_us in REPEAT_AFTER_US {
        let everybody_seen =
            || slots.iter().filter(reachable).all(|slot| trampoline.last_seen(slot) > Stage::SipiSent);
        let elapsed_us = time::us_at(read_tsc()).saturating_sub(time::us_at(began));
        let _ = Deadline::after_us(after_us.saturating_sub(elapsed_us)).wait_until(everybody_seen);
        let silent = |slot: &&Slot| reachable(slot) && trampoline.last_seen(slot) == Stage::SipiSent;
        send_to_all(start_up, &mut slots.iter().filter(silent));
    }
    let is_online = |slot: &Slot| slot.state.load(Ordering::Acquire) == SlotState::Online as u32;
    let all_online = deadline.wait_until(|| slots.iter().all(is_online)).is_ok();

    for (ap, slot) in aps.iter().zip(slots) {
        if !settle(slot) {
            log::error!(
                "cpu {} (APIC ID {}): not online {AP_INIT_TO_ONLINE_MS} ms after INIT, last seen in stage {}",
                ap.id(),
                ap.entry.apic_id,
                trampoline.last_seen(slot).name()
            );
        }
        ap.stage.store(trampoline.last_seen(slot) as u64, Ordering::Relaxed);
        for (to, from) in ap.stamps.iter().zip(&slot.stamps) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        ap.online.store(u64::from(is_online(slot)), Ordering::Release);
    }
    trampoline.retire(all_online);
    Ok(())
}

fn slot_for(ap: &Cpu) -> Slot {
    Slot {
        apic_id: ap.entry.apic_id.0,
        state: (SlotState::Waiting as u32).into(),
        stage: (Stage::SipiSent as u32).into(),
        cpu: ap.id().0,
        stack_top: stacks::top(ap.id(), Stack::Main),
        gs_base: ap.gs_base.load(Ordering::Relaxed),
        ist_tops: stacks::ist_tops(ap.id()),
        stamps: Default::default(),
    }
}

/// Decides whether a processor is online: from here on it is, or it finds that nobody waits for it. Its stack, area and
/// slot are never used again, for it may stand anywhere.
fn settle(slot: &Slot) -> bool {
    let gave_up = slot.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
        (state != SlotState::Online as u32).then_some(SlotState::GivenUp as u32)
    });
    gave_up.is_err()
}

/// The page that the processors wake up in, filled and ready.
struct Trampoline {
    passage: Passage,
    page: *mut u8,
}

impl Trampoline {
    fn prepare(passage: Passage, slots: &'static [Slot]) -> Trampoline {
        let page: *mut u8 = direct_map::pointer(passage.page());
        let code = ap_trampoline::code();
        assert!(code.len() <= MAILBOX, "the trampoline's code runs into its mailbox");
        let idt = interrupts::idt_pointer();
        let mut mailbox = Mailbox::new(passage.page() as u32);
        mailbox.idt_pointer = TablePointer { limit: idt.limit, base: idt.base.as_u64() };
        mailbox.cr0 = Cr0::read_raw() as u32;
        mailbox.cr3 = passage.root();
        mailbox.cr4 = Cr4::read_raw() as u32;
        // LMA is the processor's to set.
        mailbox.efer = (Efer::read() - EferFlags::LONG_MODE_ACTIVE).bits() as u32;
        mailbox.slots = slots.as_ptr().addr() as u64;
        mailbox.slot_count = slots.len() as u32;
        mailbox.entry = ap_entry as *const () as u64;
        mailbox.go_away = go_away as *const () as u64;
        // SAFETY: the page is the passage's own, mapped for writing in the direct map, and no processor has been told of
        // it yet. Code, mailbox and marks lie apart, as `ap_trampoline` asserts.
        unsafe {
            page.write_bytes(FILLER, PAGE_BYTES);
            page.copy_from_nonoverlapping(code.as_ptr(), code.len());
            page.add(MAILBOX).cast::<Mailbox>().write(mailbox);
            page.add(SEEN_REAL_MODE).write_bytes(0, SEEN_BITS / 8);
            page.add(SEEN_PROTECTED_MODE).write_bytes(0, SEEN_BITS / 8);
        }
        Trampoline { passage, page }
    }

    /// Where a processor was last seen: in its slot, or, before it has claimed that, by its marks in the page.
    fn last_seen(&self, slot: &Slot) -> Stage {
        let stage = slot.stage.load(Ordering::Acquire) as usize;
        if stage != Stage::SipiSent as usize {
            return Stage::ALL[stage % Stage::COUNT];
        }
        let is_marked = |marks: usize| {
            let id = slot.apic_id as usize;
            // SAFETY: a byte of the page; the processors set its bits meanwhile, which a volatile read allows for.
            id < SEEN_BITS && unsafe { self.page.add(marks + id / 8).read_volatile() } & (1 << (id % 8)) != 0
        };
        if is_marked(SEEN_PROTECTED_MODE) {
            Stage::ProtectedMode
        } else if is_marked(SEEN_REAL_MODE) {
            Stage::RealMode
        } else {
            Stage::SipiSent
        }
    }

    /// Gives the page back, if every processor that may still come to it has come and gone.
    fn retire(self, all_online: bool) {
        // SAFETY: the mailbox lies there; only its counter is written by others, and it is read as the atomic it is.
        let strays = unsafe { &(*self.page.add(MAILBOX).cast::<Mailbox>()).strays }.load(Ordering::Acquire);
        if strays > 0 {
            log::warn!("{strays} CPUs came that nobody waited for, and were sent away");
        }
        if !all_online {
            log::warn!("the trampoline's page stays: a CPU may still come to it");
            return;
        }
        // SAFETY: every processor that was sent here is in the kernel, on the kernel's tables.
        give_back(unsafe { self.passage.close() });
    }
}

/// Complains if the trampoline's page could not be given back; the audit then finds it missing.
fn give_back(outcome: Result<(), memory::MemoryError>) {
    if let Err(error) = outcome {
        log::warn!("the trampoline's page is not given back: {error}");
    }
}

/// Where an application processor enters the kernel: on its own stack, GS base set, interrupts off.
extern "C" fn ap_entry(slot: &'static Slot) -> ! {
    let Some(common) = COMMON.get() else { halt_forever() };
    // SAFETY: the kernel's tables map what this runs and stands on, as the passage's did.
    unsafe { memory::load_root(common.root) };
    cpu::set_memory_types();
    cpu::set_current(CpuId(slot.cpu));
    let guard = IrqGuard::new();
    let cpu = CpuId(slot.cpu);
    thread::adopt_own(&guard, stacks::bottom(cpu, Stack::Main)..stacks::top(cpu, Stack::Main));
    // SAFETY: once on this CPU, whose GS base the trampoline has set; the stacks are this CPU's own.
    unsafe { load_descriptors(&guard, slot.ist_tops) };
    reached(slot, Stage::Descriptors);
    let uid =
        common.platform.cpus.iter().find(|entry| entry.apic_id.0 == slot.apic_id).and_then(|entry| entry.uid);
    if let Err(error) = apic::enable(&guard, common.platform.nmi_pins, uid) {
        log::error!("{error}");
        halt_forever();
    }
    reached(slot, Stage::Apic);
    time::start_tick(&guard, &common.clock);
    reached(slot, Stage::Timer);
    reached(slot, Stage::Online);
    let claimed = SlotState::Claimed as u32;
    let online = SlotState::Online as u32;
    if slot.state.compare_exchange(claimed, online, Ordering::AcqRel, Ordering::Acquire).is_err() {
        go_away();
    }
    x86_64::instructions::interrupts::enable();
    drop(guard);
    work::idle()
}

/// Where a processor ends that nobody waits for: on the kernel's tables, touching nothing.
extern "C" fn go_away() -> ! {
    if let Some(common) = COMMON.get() {
        // SAFETY: as in `ap_entry`. The compiler keeps no stack slot across this that would matter: both tables map
        // the same stack, if there is one.
        unsafe { memory::load_root(common.root) };
    }
    halt_forever()
}

fn reached(slot: &Slot, stage: Stage) {
    slot.stamps[stage as usize].store(read_tsc(), Ordering::Relaxed);
    slot.stage.store(stage as u32, Ordering::Release);
}
