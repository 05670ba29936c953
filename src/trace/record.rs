//! The recorder, and the assignment of rings to CPUs.

use core::arch::{asm, naked_asm};
use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::ring::{EventSlot, RING_SLOTS, Ring, SLOT_BYTES, SMALL_EVENTS, empty, restarted_within};
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::{PerCpu, PerCpuStorage, gs_base};
use crate::per_cpu;
use crate::wire::{TraceClass, TraceEvent};

/// The highest [`TraceClass`] that is recorded; 0 if nothing is.
static LEVEL: AtomicU32 = AtomicU32::new(0);

/// The address of this CPU's ring while it records, else 0. This variable and the next two are declared without `per_cpu!`,
/// because the recorder's assembly refers to their symbols.
#[derive(Clone, Copy)]
struct Base;

#[unsafe(link_section = ".percpu")]
// SAFETY: it lies in .percpu.
static BASE: PerCpuStorage<AtomicU64> = unsafe { PerCpuStorage::new(AtomicU64::new(0)) };

per_cpu!(@variable Base, AtomicU64, BASE);

/// The position of the next event, in bytes since the first event.
#[derive(Clone, Copy)]
struct Head;

#[unsafe(link_section = ".percpu")]
// SAFETY: it lies in .percpu.
static HEAD: PerCpuStorage<AtomicU64> = unsafe { PerCpuStorage::new(AtomicU64::new(0)) };

per_cpu!(@variable Head, AtomicU64, HEAD);

/// The ring's size in bytes, minus 1.
#[derive(Clone, Copy)]
struct Mask;

#[unsafe(link_section = ".percpu")]
// SAFETY: it lies in .percpu.
static MASK: PerCpuStorage<AtomicU64> = unsafe { PerCpuStorage::new(AtomicU64::new(0)) };

per_cpu!(@variable Mask, AtomicU64, MASK);

per_cpu! {
    /// The address of this CPU's ring, whether it records or not; 0 if there is none.
    static RING: AtomicU64 = AtomicU64::new(0);
}

/// The BSP's ring until memory for larger ones can be allocated.
static FIRST: [EventSlot; SMALL_EVENTS] = [const { empty() }; SMALL_EVENTS];

/// Records an event on this CPU. `trace!` calls this if its event is enabled.
///
/// **Context:** any.
#[inline(always)]
pub(crate) fn record(event: TraceEvent, a: u64, b: u64) {
    record_number(u64::from(event as u8), a, b);
}

/// Records an event by the number that its slot has: see [`number`](super::ring::number).
///
/// **Context:** any.
#[inline(always)]
pub(super) fn record_number(number: u64, a: u64, b: u64) {
    // SAFETY: `octopod_trace_record` takes these registers, changes no others, and writes only to this CPU's ring.
    unsafe {
        asm!(
            "call {recorder}",
            recorder = sym octopod_trace_record,
            // A 64-bit operand: the recorder ORs the position into the whole register, and the upper half of a register with a
            // 32-bit operand is undefined (Rust reference, inline assembly, register operands).
            inout("rdi") number => _,
            in("rsi") a,
            in("r8") b,
            out("rax") _,
            out("rcx") _,
            out("rdx") _,
        );
    }
}

/// Records an event. Takes its number in RDI and its words in RSI and R8; clobbers RAX, RCX, RDX and RDI. The interrupt entry
/// code calls it as well.
///
/// One `xadd` reserves the slot, so an interrupt cannot split the reservation. See [`ring`](super::ring) for the protocol. Up to its last
/// store it can begin again: see [`restarted`].
///
/// **Context:** any.
///
/// # Safety
/// The caller follows this register convention, and GS addresses this CPU's area.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn octopod_trace_record() {
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
        ".globl octopod_trace_recorded",
        "octopod_trace_recorded:",
        "3: ret",
        base = sym BASE,
        head = sym HEAD,
        mask = sym MASK,
        slot_bytes = const SLOT_BYTES,
    )
}

unsafe extern "C" {
    /// The end of the recorder's restartable part.
    static octopod_trace_recorded: u8;
}

/// Where a thread that is switched away at `rip`, with this RDI, must continue, and with which RDI: if it is within the recorder, at
/// the recorder's start. It may continue on another CPU, which has another ring, or when the slot has been reserved again. The slot that it
/// leaves counts as lost.
///
/// **Context:** any.
pub(crate) fn restarted(rip: u64, rdi: u64) -> (u64, u64) {
    restarted_within(recorder(), rip, rdi)
}

/// The addresses of the recorder's restartable part.
pub(crate) fn recorder() -> Range<u64> {
    let begin = octopod_trace_record as *const () as u64;
    let end = (&raw const octopod_trace_recorded) as u64;
    begin..end
}

/// Sets the highest [`TraceClass`] that is recorded (0 for none), and starts recording on this CPU.
///
/// **Context:** the BSP, once, interrupts disabled, before the branches of `trace!` are enabled.
pub(crate) fn init(_: &IrqGuard, level: u32) {
    LEVEL.store(level, Ordering::Relaxed);
    if level > 0 {
        // SAFETY: `gs_base()` is that of this CPU's own area, which is never freed, and the guard keeps interrupts disabled.
        unsafe { install_ring(gs_base(), &FIRST) };
    }
}

/// Whether frequent events are recorded as well as rare ones.
pub(crate) fn records_hot_events() -> bool {
    LEVEL.load(Ordering::Relaxed) >= TraceClass::Hot as u32
}

/// The number of slots that each CPU's ring needs; 0 if nothing is recorded.
pub(crate) fn ring_slots() -> usize {
    match LEVEL.load(Ordering::Relaxed) {
        0 => 0,
        _ if records_hot_events() => RING_SLOTS,
        _ => SMALL_EVENTS,
    }
}

/// Installs a ring for a CPU, and copies the events that it has recorded so far. `slots` are empty; their number is a power
/// of 2.
///
/// # Safety
/// `gs_base` is that of a per-CPU area that is never freed. The area belongs to this CPU, with interrupts disabled, or to a
/// CPU that does not run yet.
pub(crate) unsafe fn install_ring(gs_base: usize, slots: &'static [EventSlot]) {
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    let base = unsafe { Base.of(gs_base) };
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    let head = unsafe { Head.of(gs_base) };
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    let mask = unsafe { Mask.of(gs_base) };
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    let ring = unsafe { RING.of(gs_base) };
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    let so_far = unsafe { ring_of(gs_base) };
    base.store(0, Ordering::Relaxed);
    // An NMI handler of this CPU may read the ring now: it must not see the old slots with the new mask.
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

/// Returns the ring of the CPU with this GS base; `None` if it has none. An event that the CPU is writing counts as lost.
///
/// **Context:** any.
///
/// # Safety
/// `gs_base` is that of a per-CPU area that is never freed.
pub(crate) unsafe fn ring_of(gs_base: usize) -> Option<Ring<'static>> {
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    let head = unsafe { Head.of(gs_base) };
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    let mask = unsafe { Mask.of(gs_base) };
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    let ring = unsafe { RING.of(gs_base) };
    let address = ring.load(Ordering::Acquire) as usize;
    let slots = ((mask.load(Ordering::Relaxed) + 1) / SLOT_BYTES) as usize;
    if address == 0 {
        return None;
    }
    // SAFETY: `install_ring` stores the mask before the address (Release), and stores address 0 before it changes the mask,
    // so the mask gives the number of slots at this address. Slots are atomic and never freed (`&'static`).
    let slots = unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance(address), slots) };
    Some(Ring::new(slots, head))
}

/// Starts or stops recording on a CPU. A record in progress is completed.
///
/// **Context:** any.
///
/// # Safety
/// `gs_base` is that of a per-CPU area that is never freed.
pub(crate) unsafe fn set_recording(gs_base: usize, is_recording: bool) {
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    let base = unsafe { Base.of(gs_base) };
    // SAFETY: `gs_base` is that of an area that is never freed, guaranteed by the caller (see # Safety).
    let ring = unsafe { RING.of(gs_base) };
    base.store(if is_recording { ring.load(Ordering::Relaxed) } else { 0 }, Ordering::Release);
}
