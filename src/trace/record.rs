//! The recorder, and who has which ring.

use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::ring::{Ring, SLOT_BYTES, Slot, empty};
use super::{RING_SLOTS, SMALL_EVENTS};
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::{PerCpu, PerCpuStorage, gs_base};
use crate::per_cpu;
use crate::wire::{TraceClass, TraceEvent};

/// The most that is recorded, as a [`TraceClass`], or 0.
static LEVEL: AtomicU32 = AtomicU32::new(0);

/// Where this CPU's ring begins while it records, else 0. These three are written by hand, for the recorder names them.
#[derive(Clone, Copy)]
struct Base;

#[unsafe(link_section = ".percpu")]
// SAFETY: it lies in .percpu.
static BASE: PerCpuStorage<AtomicU64> = unsafe { PerCpuStorage::new(AtomicU64::new(0)) };

per_cpu!(@variable Base, AtomicU64, BASE);

/// Where the next event goes, in bytes since the first.
#[derive(Clone, Copy)]
struct Head;

#[unsafe(link_section = ".percpu")]
// SAFETY: it lies in .percpu.
static HEAD: PerCpuStorage<AtomicU64> = unsafe { PerCpuStorage::new(AtomicU64::new(0)) };

per_cpu!(@variable Head, AtomicU64, HEAD);

/// The ring's size in bytes, less one.
#[derive(Clone, Copy)]
struct Mask;

#[unsafe(link_section = ".percpu")]
// SAFETY: it lies in .percpu.
static MASK: PerCpuStorage<AtomicU64> = unsafe { PerCpuStorage::new(AtomicU64::new(0)) };

per_cpu!(@variable Mask, AtomicU64, MASK);

per_cpu! {
    /// Where the ring begins, whether it records or not; 0 before there is one.
    static RING: AtomicU64 = AtomicU64::new(0);
}

/// The boot processor's first ring, from before there is memory for others.
static FIRST: [Slot; SMALL_EVENTS] = [const { empty() }; SMALL_EVENTS];

/// Records an event on this CPU: what `trace!` goes to where its event is wanted. Any context.
#[inline(always)]
pub fn record(event: TraceEvent, a: u64, b: u64) {
    // SAFETY: the recorder takes these registers, changes no others, and writes to this CPU's ring alone.
    unsafe {
        asm!(
            "call {recorder}",
            recorder = sym octopod_trace_record,
            // The whole register: the recorder ORs the position into all of it, and what an operand of 32 bits leaves in the
            // upper half is undefined (Rust reference, inline assembly, register operands).
            inout("rdi") u64::from(event as u8) => _,
            in("rsi") a,
            in("r8") b,
            out("rax") _,
            out("rcx") _,
            out("rdx") _,
        );
    }
}

/// Takes the event's number in RDI, its words in RSI and R8; changes RAX, RCX, RDX and RDI besides. The interrupts' entry
/// calls it too.
///
/// The slot is taken by one instruction, which an interrupt cannot split; see [`ring`](super::ring) for the rest.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn octopod_trace_record() {
    naked_asm!(
        "mov rcx, gs:[rip + {base}]",
        "test rcx, rcx",
        "jz 3f",
        "mov eax, {slot_bytes}",
        "xadd gs:[rip + {head}], rax",
        "or rdi, rax",
        "and rax, gs:[rip + {mask}]",
        "add rcx, rax",
        "rdtsc",
        "shl rdx, 32",
        "or rax, rdx",
        "mov [rcx + 8], rax",
        "mov [rcx + 16], rsi",
        "mov [rcx + 24], r8",
        "mov [rcx], rdi",
        "3: ret",
        base = sym BASE,
        head = sym HEAD,
        mask = sym MASK,
        slot_bytes = const SLOT_BYTES,
    )
}

/// Decides how much is recorded, as a [`TraceClass`] or 0, and begins on the boot processor, which calls this once, before
/// the branches are armed.
pub fn init(_: &IrqGuard, level: u32) {
    LEVEL.store(level, Ordering::Relaxed);
    if level > 0 {
        // SAFETY: this CPU's own area, with interrupts off.
        unsafe { give_ring(gs_base(), &FIRST) };
    }
}

/// Whether all is recorded, not only what comes seldom.
pub fn records_all() -> bool {
    LEVEL.load(Ordering::Relaxed) >= TraceClass::Hot as u32
}

/// Slots of the ring that each CPU shall have; 0 if nothing is recorded.
pub fn slots_wanted() -> usize {
    match LEVEL.load(Ordering::Relaxed) {
        0 => 0,
        _ if records_all() => RING_SLOTS,
        _ => SMALL_EVENTS,
    }
}

/// Gives a CPU a ring of a power of two of empty slots; what it has recorded so far moves there.
///
/// # Safety
/// `gs_base` is that of an area that lives for good, of this CPU with interrupts off or of one that does not run yet.
pub unsafe fn give_ring(gs_base: usize, slots: &'static [Slot]) {
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    let (base, head, mask, ring) =
        unsafe { (Base.of(gs_base), Head.of(gs_base), Mask.of(gs_base), RING.of(gs_base)) };
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    let so_far = unsafe { ring_of(gs_base) };
    base.store(0, Ordering::Relaxed);
    // A handler of this CPU may read the ring meanwhile: it must not find the old slots with the new mask.
    ring.store(0, Ordering::Relaxed);
    core::sync::atomic::compiler_fence(Ordering::SeqCst);
    let new_head = AtomicU64::new(0);
    let new = Ring::new(slots, &new_head);
    so_far
        .into_iter()
        .flat_map(|ring| ring.newest(SMALL_EVENTS))
        .flatten()
        .for_each(|event| new.write(&event));
    head.store(new_head.load(Ordering::Relaxed), Ordering::Relaxed);
    mask.store(slots.len() as u64 * SLOT_BYTES - 1, Ordering::Relaxed);
    let address = slots.as_ptr().expose_provenance() as u64;
    ring.store(address, Ordering::Release);
    base.store(address, Ordering::Release);
}

/// The ring of the CPU with that GS base, if it has one. Any context; what is being written meanwhile counts as lost.
///
/// # Safety
/// `gs_base` is that of an area that lives for good.
pub unsafe fn ring_of(gs_base: usize) -> Option<Ring<'static>> {
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    let (head, mask, ring) = unsafe { (Head.of(gs_base), Mask.of(gs_base), RING.of(gs_base)) };
    let address = ring.load(Ordering::Acquire) as usize;
    let slots = ((mask.load(Ordering::Relaxed) + 1) / SLOT_BYTES) as usize;
    if address == 0 {
        return None;
    }
    // SAFETY: `give_ring` stores the mask before the address (`Release`), and no address while they do not belong together, so
    // the slots are as many. They are atomic and never freed.
    let slots = unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance(address), slots) };
    Some(Ring::new(slots, head))
}

/// Lets a CPU record, or not, from now on; what its recorder has begun it still ends.
///
/// # Safety
/// `gs_base` is that of an area that lives for good.
pub unsafe fn set_recording(gs_base: usize, records: bool) {
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    let (base, ring) = unsafe { (Base.of(gs_base), RING.of(gs_base)) };
    base.store(if records { ring.load(Ordering::Relaxed) } else { 0 }, Ordering::Release);
}
