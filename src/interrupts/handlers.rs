//! The handler table: one handler for each vector, replaceable while interrupts arrive.
//!
//! A vector has one handler, in one slot. The vectors that interrupt code with interrupts disabled ([`IST_VECTORS`]) have
//! their slots in a second table. Their entry in the first table is [`dispatch_ist`], which disables the frame allocator
//! and then calls the handler. Only [`slot`] maps a vector to its table, so [`handler`] and [`replace`] agree.

use core::cell::Cell;
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use x86_64::registers::rflags::RFlags;

use super::frame::TrapFrame;
use super::unregistered::unregistered;
use super::vector::Vector;
use super::{counts, machine_check, nmi};
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;
use crate::memory;
use crate::per_cpu;

/// The one-byte instruction HLT (SDM Vol. 2A).
const HLT: u8 = 0xf4;

/// The handler of a vector. It runs with interrupts disabled, on the interrupted code's stack or on the vector's IST
/// stack. It signals end-of-interrupt itself, where that is required.
pub type Handler = fn(&mut TrapFrame);

/// A handler that one CPU may replace while others call it.
pub(crate) struct HandlerSlot(AtomicPtr<()>);

impl HandlerSlot {
    /// Creates a slot that holds `handler`.
    pub(crate) const fn new(handler: Handler) -> HandlerSlot {
        HandlerSlot(AtomicPtr::new(handler as *mut ()))
    }

    /// Returns the handler. **Context:** any.
    #[inline(always)]
    pub(crate) fn get(&self) -> Handler {
        from_pointer(self.0.load(Ordering::Acquire))
    }

    /// Stores another handler and returns the previous one. **Context:** any.
    pub(crate) fn replace(&self, handler: Handler) -> Handler {
        from_pointer(self.0.swap(handler as *mut (), Ordering::AcqRel))
    }
}

#[inline(always)]
fn from_pointer(pointer: *mut ()) -> Handler {
    // SAFETY: the pointer comes from a `HandlerSlot`, whose field is private; `new` and `replace` alone write it, and both
    // store a `Handler`. A function pointer and a data pointer have the same size and representation on x86-64.
    unsafe { core::mem::transmute::<*mut (), Handler>(pointer) }
}

/// The handler of vectors that have none registered.
pub(crate) const UNREGISTERED: Handler = unregistered;

per_cpu! {
    /// The nesting depth of handlers of NMI, #MC, #DF and #DB.
    static NMI_DEPTH: Cell<u32> = Cell::new(0);
}

/// The vectors that are delivered although interrupts are disabled, each on an IST stack: #DB, NMI, #DF and #MC.
const IST_VECTORS: [u8; 4] = [1, 2, 8, 18];

/// The handlers that `interrupt_dispatch` calls, by vector.
static HANDLERS: [HandlerSlot; 256] = {
    let mut handlers = [const { HandlerSlot::new(UNREGISTERED) }; 256];
    let mut index = 0;
    while index < IST_VECTORS.len() {
        handlers[IST_VECTORS[index] as usize] = HandlerSlot::new(dispatch_ist);
        index += 1;
    }
    handlers
};

/// The handlers that [`dispatch_ist`] calls, in the order of [`IST_VECTORS`]. NMI and #MC have a handler as soon as they
/// have a gate.
static IST_HANDLERS: [HandlerSlot; IST_VECTORS.len()] = [
    HandlerSlot::new(UNREGISTERED),
    HandlerSlot::new(nmi::count),
    HandlerSlot::new(UNREGISTERED),
    HandlerSlot::new(machine_check::handle),
];

fn ist_index(vector: u8) -> Option<usize> {
    IST_VECTORS.iter().position(|ist_vector| *ist_vector == vector)
}

/// Returns the slot that holds a vector's handler.
fn slot(vector: Vector) -> &'static HandlerSlot {
    match ist_index(vector.get()) {
        Some(index) => &IST_HANDLERS[index],
        None => &HANDLERS[usize::from(vector.get())],
    }
}

/// Returns the handler of a vector, or [`UNREGISTERED`]. **Context:** any.
pub(crate) fn handler(vector: Vector) -> Handler {
    slot(vector).get()
}

/// Registers `handler` for `vector` on every CPU. `name` appears in the table of interrupt counts.
///
/// **Context:** thread or interrupt; not NMI. Takes a lock.
pub(crate) fn register(vector: Vector, name: &'static str, handler: Handler) {
    counts::set_name(vector, name);
    replace(vector, handler);
}

/// Replaces the handler of a vector on every CPU and returns the previous one, as [`handler`] would. [`UNREGISTERED`]
/// removes the handler. The vector keeps its name. **Context:** any.
pub(crate) fn replace(vector: Vector, handler: Handler) -> Handler {
    slot(vector).replace(handler)
}

/// Returns whether this CPU runs a handler of NMI, #MC, #DF or #DB, which may have interrupted code with interrupts
/// disabled. **Context:** any.
#[inline(always)]
pub(crate) fn is_in_nmi() -> bool {
    NMI_DEPTH.get() != 0
}

/// Resets the nesting depth: INIT has ended all handlers that ran on this CPU.
///
/// **Context:** bring-up, before this CPU has loaded its IDT.
pub(crate) fn reset_nmi_depth(_: &IrqGuard) {
    NMI_DEPTH.set(0);
}

/// Calls the handler of the frame's vector. **Context:** the interrupt entry.
#[inline(always)]
pub(super) fn dispatch(frame: &mut TrapFrame) {
    HANDLERS[usize::from(frame.vector as u8)].get()(frame);
}

/// Calls the handler of a vector that may have interrupted the frame allocator. Allocation fails until the handler
/// returns. **Context:** NMI, #MC, #DB and #DF; interrupts disabled.
fn dispatch_ist(frame: &mut TrapFrame) {
    NMI_DEPTH.set(NMI_DEPTH.get() + 1);
    let index = ist_index(frame.vector as u8).unwrap_or_default();
    memory::with_alloc_disabled(&IrqGuard::new(), || IST_HANDLERS[index].get()(frame));
    NMI_DEPTH.set(NMI_DEPTH.get() - 1);
    skip_halt(frame);
}

/// Skips a HLT that the interrupted code was about to execute. Code that halts executes STI and HLT, and depends on no
/// interrupt being taken between them. An NMI may be taken there (SDM Vol. 2B, STI). Its IRET ends the deferral of
/// pending interrupts, so one would be taken before the HLT, which would then wait for an event that has passed.
fn skip_halt(frame: &mut TrapFrame) {
    // SAFETY: the interrupted code was about to execute the instruction at RIP, so the byte is mapped, and text is
    // readable. A relaxed load of a byte does not race with the stores that patch code.
    let opcode = || unsafe { AtomicU8::from_ptr(frame.rip as *mut u8) }.load(Ordering::Relaxed);
    if RFlags::from_bits_retain(frame.rflags).contains(RFlags::INTERRUPT_FLAG) && opcode() == HLT {
        frame.rip += 1;
    }
}
