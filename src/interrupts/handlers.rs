//! The table of handlers: one for each vector, replaceable while interrupts arrive.
//!
//! A vector has one handler, in one slot. The vectors that interrupt code with interrupts off ([`IST_VECTORS`]) have theirs
//! in a second table, because the entry of the first table is [`dispatch_ist`], which closes the frame allocator before it
//! calls them. [`slot`] alone knows which table a vector uses, so [`handler`] and [`replace`] cannot disagree.

use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use super::{Frame, NMI_DEPTH, UNREGISTERED, Vector, machine_check, nmi};
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;
use crate::memory;

/// RFLAGS.IF (SDM Vol. 1, 3.4.3.3).
const INTERRUPT_FLAG: u64 = 1 << 9;

/// The instruction HLT, of one byte (SDM Vol. 2A).
const HLT: u8 = 0xf4;

/// What handles a vector: with interrupts off, on the interrupted code's stack or the vector's own. It signals
/// end-of-interrupt itself, where one is due.
pub type Handler = fn(&mut Frame);

/// A handler that one CPU replaces while others call it.
pub struct HandlerSlot(AtomicPtr<()>);

impl HandlerSlot {
    /// A slot with that handler.
    pub const fn new(handler: Handler) -> HandlerSlot {
        HandlerSlot(AtomicPtr::new(handler as *mut ()))
    }

    /// The handler. **Context:** any.
    #[inline(always)]
    pub fn get(&self) -> Handler {
        from_pointer(self.0.load(Ordering::Acquire))
    }

    /// Stores another handler and returns the previous one. **Context:** any.
    pub fn replace(&self, handler: Handler) -> Handler {
        from_pointer(self.0.swap(handler as *mut (), Ordering::AcqRel))
    }
}

#[inline(always)]
fn from_pointer(pointer: *mut ()) -> Handler {
    // SAFETY: the pointer comes from a `HandlerSlot`, whose field is private; `new` and `replace` alone write it, and both
    // store a `Handler`. A function pointer and a data pointer have the same size and representation on x86-64.
    unsafe { core::mem::transmute::<*mut (), Handler>(pointer) }
}

/// The vectors that are delivered with interrupts off, each on a stack of its own: #DB, NMI, #DF and #MC.
const IST_VECTORS: [u8; 4] = [1, 2, 8, 18];

/// What `interrupt_dispatch` calls, by vector.
static HANDLERS: [HandlerSlot; 256] = {
    let mut handlers = [const { HandlerSlot::new(UNREGISTERED) }; 256];
    let mut index = 0;
    while index < IST_VECTORS.len() {
        handlers[IST_VECTORS[index] as usize] = HandlerSlot::new(dispatch_ist);
        index += 1;
    }
    handlers
};

/// What [`dispatch_ist`] calls, in the order of [`IST_VECTORS`]. An NMI and a machine check have a handler from the first
/// instruction that has a gate.
static IST_HANDLERS: [HandlerSlot; IST_VECTORS.len()] = [
    HandlerSlot::new(UNREGISTERED),
    HandlerSlot::new(nmi::count),
    HandlerSlot::new(UNREGISTERED),
    HandlerSlot::new(machine_check::handle),
];

fn ist_index(vector: u8) -> Option<usize> {
    IST_VECTORS.iter().position(|ist_vector| *ist_vector == vector)
}

/// The one slot that holds a vector's handler.
fn slot(vector: Vector) -> &'static HandlerSlot {
    match ist_index(vector.get()) {
        Some(index) => &IST_HANDLERS[index],
        None => &HANDLERS[usize::from(vector.get())],
    }
}

/// The handler of a vector; [`UNREGISTERED`] if it has none. **Context:** any.
pub fn handler(vector: Vector) -> Handler {
    slot(vector).get()
}

/// Replaces the handler of a vector on every CPU, [`UNREGISTERED`] for none, and returns the previous one: what [`handler`]
/// would have returned. The vector keeps its name. **Context:** any.
pub fn replace(vector: Vector, handler: Handler) -> Handler {
    slot(vector).replace(handler)
}

/// Calls what the vector's stub leads to. **Context:** the interrupt entry.
#[inline(always)]
pub(super) fn dispatch(frame: &mut Frame) {
    HANDLERS[usize::from(frame.vector as u8)].get()(frame);
}

/// Calls the handler of a vector that may have interrupted the frame allocator: the allocator refuses every request until
/// the handler returns. **Context:** NMI and the like; interrupts off.
fn dispatch_ist(frame: &mut Frame) {
    NMI_DEPTH.set(NMI_DEPTH.get() + 1);
    let index = ist_index(frame.vector as u8).unwrap_or_default();
    memory::with_alloc_disabled(&IrqGuard::new(), || IST_HANDLERS[index].get()(frame));
    NMI_DEPTH.set(NMI_DEPTH.get() - 1);
    skip_halt(frame);
}

/// Lets a halt end that the handler's interrupt came before. Code that halts executes STI and HLT, and relies on no interrupt
/// being taken between the two. An NMI may be (SDM Vol. 2B, STI), and behind its IRET nothing defers a pending interrupt
/// any more: it would be taken before the HLT, which then waits for an event that has passed.
fn skip_halt(frame: &mut Frame) {
    // SAFETY: the interrupted code was about to execute the instruction at RIP, so it is mapped, and text is readable. A
    // relaxed load of a byte does not race with the stores that patch code.
    let opcode = || unsafe { AtomicU8::from_ptr(frame.rip as *mut u8) }.load(Ordering::Relaxed);
    if frame.rflags & INTERRUPT_FLAG != 0 && opcode() == HLT {
        frame.rip += 1;
    }
}
