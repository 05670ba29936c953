//! Layer 5: from a gate to a handler.
//!
//! All 256 gates lead through their own stub to one entry, which saves every register and calls
//! `interrupt_dispatch`. Layers above register their handlers by vector and name ([`register`]); each interrupt is
//! counted by CPU and vector ([`Counts`]), and on a vector that nobody has registered it is, if the CPU raised it
//! itself, fatal.

mod counts;
mod handlers;
pub(crate) mod machine_check;
mod nmi;
pub(crate) mod pic;
mod vector;

use core::cell::Cell;
use core::fmt;
use core::sync::atomic::AtomicU64;

use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::tables::lidt;
use x86_64::registers::control::{Cr2, Cr3};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::idt::InterruptDescriptorTable;

pub(crate) use counts::{COUNTS, Counts, name};
pub use handlers::Handler;
pub(crate) use handlers::{HandlerSlot, handler, replace};
pub(crate) use nmi::EXTERNAL_NMIS;
pub use vector::Vector;

use crate::boot::{self, Handoff, image};
use crate::console::LineBuffer;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{CpuId, IrqGuard, irq_guard};
use crate::memory::stacks::{self, Stack};
use crate::panic::{self, Death};
use crate::per_cpu;
use crate::wire::{Registers, TraceEvent};

/// What a vector's stub takes; the linker script checks it.
pub(crate) const STUB_BYTES: usize = 32;

core::arch::global_asm!(
    ".set STUB_BYTES, {stub_bytes}",
    ".set INTERRUPT_COUNTS, {counts}",
    ".set IRQ_DEPTH, {irq_depth}",
    ".set TRACE_ENTER, {trace_enter}",
    ".set TRACE_EXIT, {trace_exit}",
    ".set TRACE_CLASS, {trace_class}",
    include_str!("stubs.S"),
    ".text",
    stub_bytes = const STUB_BYTES,
    counts = sym counts::TEMPLATE,
    irq_depth = sym irq_guard::IRQ_DEPTH,
    trace_enter = const TraceEvent::InterruptEnter as u32,
    trace_exit = const TraceEvent::InterruptExit as u32,
    trace_class = const TraceEvent::InterruptEnter.class() as u32,
    options(att_syntax)
);

/// The registers of the code that was interrupted, as the entry saved them. What a handler changes here, that code
/// gets back. Only the entry makes one, so a handler's reference to it is the proof that a handler runs.
#[derive(Debug)]
#[repr(C)]
#[allow(missing_docs)]
#[expect(clippy::manual_non_exhaustive, reason = "no other module of this crate makes one either")]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    /// 0 for vectors without one.
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
    made_by_entry: (),
}

impl Frame {
    /// The proof that interrupts are off: the entry has counted this handler's call, which does not return while the frame
    /// is borrowed.
    #[inline(always)]
    pub fn irq_guard(&self) -> &IrqGuard {
        // SAFETY: only the entry makes a frame, and `interrupt_dispatch` lends it to handlers for their call alone.
        unsafe { IrqGuard::of_handler() }
    }

    /// The same in the order that everybody knows. CR2 is that of the last page fault.
    pub fn registers(&self) -> Registers {
        let Frame { rip, rsp, rbp, rflags, rax, rbx, rcx, rdx, rsi, rdi, .. } = *self;
        let Frame { r8, r9, r10, r11, r12, r13, r14, r15, .. } = *self;
        let (cr2, cr3) = (Cr2::read_raw(), Cr3::read_raw().0.start_address().as_u64());
        Registers([
            rip, rsp, rbp, rflags, rax, rbx, rcx, rdx, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, cr2,
            cr3,
        ])
    }
}

// The stubs push two words, the entry 15, the processor five (SDM Vol. 3A, 6.14.2).
const _: () = assert!(size_of::<Frame>() == (5 + 2 + 15) * 8);

/// Who has the vectors that nobody has registered.
pub(crate) const UNREGISTERED: Handler = unregistered;

/// Tells the interrupt controller that an interrupt on an unregistered vector is over, if it was one.
static ACKNOWLEDGE: Once<fn(Vector)> = Once::new();

per_cpu! {
    /// Interrupts on vectors that nobody has registered.
    pub(crate) static UNEXPECTED: AtomicU64 = AtomicU64::new(0);
    /// How many handlers of NMIs, machine checks, double faults and debug exceptions run, one inside the other.
    static NMI_DEPTH: Cell<u32> = Cell::new(0);
}

/// Whether this CPU runs a handler of an NMI, machine check, double fault or debug exception: one that may have interrupted
/// code whose interrupts are off. **Context:** any.
#[inline(always)]
pub(crate) fn is_in_nmi() -> bool {
    NMI_DEPTH.get() != 0
}

/// No handler of an NMI or the like runs on this CPU, whatever ran when INIT came.
///
/// **Context:** bring-up, before this CPU has loaded its IDT.
pub(crate) fn forget_ended_handlers(_: &IrqGuard) {
    NMI_DEPTH.set(0);
}

/// From now on `handler` gets the interrupts on `vector`, on every CPU. The name stands in the table of counts.
pub(crate) fn register(vector: Vector, name: &'static str, handler: Handler) {
    counts::set_name(vector, name);
    replace(vector, handler);
}

/// Sets what acknowledges interrupts on vectors that nobody has registered.
pub(crate) fn set_acknowledge(acknowledge: fn(Vector)) {
    ACKNOWLEDGE.call_once(|| acknowledge);
}

#[unsafe(no_mangle)]
extern "C" fn interrupt_dispatch(frame: &mut Frame) {
    handlers::dispatch(frame);
}

/// Ends what came by the local APIC, if it did.
fn acknowledge(vector: Vector) {
    if let Some(acknowledge) = ACKNOWLEDGE.get() {
        acknowledge(vector);
    }
}

#[cold]
fn unregistered(frame: &mut Frame) {
    let vector = Vector::new(frame.vector as u8);
    let Some(name) = vector.exception() else {
        UNEXPECTED.increment();
        acknowledge(vector);
        return;
    };
    let cr2 = Cr2::read_raw();
    // A page fault on a stack that is full cannot be delivered there, and becomes a double fault; CR2 still tells.
    let overflow = matches!(vector.get(), 8 | 14).then(|| Overflow::at(cr2)).flatten();
    let overflow =
        overflow.map(|overflow| LineBuffer::<60>::format(format_args!("{overflow}: "))).unwrap_or_default();
    let attempt = (vector.get() == 14).then_some(PageFault { error_code: frame.error_code, address: cr2 });
    let attempt =
        attempt.map(|fault| LineBuffer::<100>::format(format_args!(": {fault}"))).unwrap_or_default();
    panic::die(&Death {
        message: format_args!(
            "{}exception {} ({name}){}, error code {:#x}, RIP {:#x}, RSP {:#x}, CR2 {cr2:#x}",
            overflow.as_str(),
            vector.get(),
            attempt.as_str(),
            frame.error_code,
            frame.rip,
            frame.rsp,
        ),
        location: None,
        is_exception: true,
        registers: &frame.registers(),
    })
}

/// A page fault in words, from its error code (SDM Vol. 3A, 4.7) and CR2.
struct PageFault {
    error_code: u64,
    address: u64,
}

impl fmt::Display for PageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |bit: u32| self.error_code & 1 << bit != 0;
        let (attempt, may_not) = match () {
            () if has(4) => ("execution of", "may not be executed"),
            () if has(1) => ("write to", "may not be written"),
            () => ("read of", "may not be read"),
        };
        let reason = match () {
            () if has(3) => "whose page tables have a reserved bit set",
            () if has(0) => may_not,
            () => "where nothing is mapped",
        };
        let link = if has(0) && !has(3) { "which " } else { "" };
        write!(f, "{attempt} {:#x}, {link}{reason}", self.address)
    }
}

/// A stack that has run into its guard page.
enum Overflow {
    Boot,
    Of(CpuId, Stack),
}

impl Overflow {
    fn at(address: u64) -> Option<Overflow> {
        if image::is_boot_stack_guard(address) {
            return Some(Overflow::Boot);
        }
        stacks::guard_at(address).map(|(cpu, stack)| Overflow::Of(cpu, stack))
    }
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Overflow::Boot => f.write_str("the boot stack is full"),
            Overflow::Of(cpu, stack) => write!(f, "cpu {cpu}'s {} stack is full", stack.name()),
        }
    }
}

/// Counts what this CPU took in 32-bit code. A machine check there is reported now, because its banks can be read only from
/// here on: then this does not return. Once, by the boot processor, at its first Rust function.
pub(crate) fn take_early_events(guard: &IrqGuard, handoff: &Handoff) {
    nmi::add_early(guard, handoff.nmis);
    if handoff.machine_checks > 0 {
        machine_check::report_deferred();
    }
}

/// A table's limit and base, as `lidt` takes them.
fn idt_pointer(table: *const InterruptDescriptorTable) -> DescriptorTablePointer {
    let limit = (size_of::<InterruptDescriptorTable>() - 1) as u16;
    DescriptorTablePointer { limit, base: VirtAddr::from_ptr(table) }
}

/// The table for a CPU that has no TSS yet: its limit and base.
pub(crate) fn early_idt_pointer() -> DescriptorTablePointer {
    idt_pointer(boot::early_idt())
}

/// Loads the table in which #DB, NMI, #DF and #MC have stacks of their own, by its address in the direct map.
///
/// # Safety
/// This CPU has loaded its TSS, which has these stacks.
pub(crate) unsafe fn load_idt() {
    // SAFETY: rt0 filled all 256 gates with the vectors' stubs, in memory that is never given back and that the final page
    // tables make read-only. The stacks that its IST fields name are in this
    // CPU's TSS, guaranteed by the caller (see # Safety).
    unsafe { lidt(&idt_pointer(boot::final_idt())) };
}
