//! Layer 5: interrupt entry and dispatch.
//!
//! Each of the 256 gates has a stub. All stubs jump to one entry, which saves every register and calls
//! `interrupt_dispatch`. Layers above register their handlers by vector and name ([`register`]). Each interrupt is
//! counted by CPU and vector ([`Counts`]). An exception on a vector without a handler causes a panic; other interrupts
//! without a handler are counted and acknowledged.

mod counts;
mod handlers;
pub(crate) mod machine_check;
mod nmi;
pub(crate) mod pic;
mod vector;

use core::cell::Cell;
use core::fmt;
use core::sync::atomic::AtomicU64;

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
use crate::panic::{self, PanicCause};
use crate::per_cpu;
use crate::sync::Hook;
use crate::wire::{Registers, TraceEvent};

/// The length of a vector's stub in bytes. The linker script checks it.
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

/// The registers of the interrupted code, as the entry saved them. The interrupted code continues with the values that a
/// handler leaves here. Only the entry makes a frame, so a handler's reference to it is the proof that a handler runs.
#[derive(Debug)]
#[repr(C)]
#[allow(missing_docs)]
#[expect(clippy::manual_non_exhaustive, reason = "no other module of this crate makes one either")]
pub struct TrapFrame {
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
    /// The error code, or 0 for vectors without one.
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
    made_by_entry: (),
}

impl TrapFrame {
    /// Returns the proof that interrupts are disabled. The entry has counted this handler's call, which does not return
    /// while the frame is borrowed.
    #[inline(always)]
    pub fn irq_guard(&self) -> &IrqGuard {
        // SAFETY: only the entry makes a frame (`made_by_entry` is private), and `interrupt_dispatch` lends it to
        // handlers for the duration of their call.
        unsafe { IrqGuard::of_handler() }
    }

    /// Returns the registers in the conventional order. CR2 is that of the last page fault.
    pub fn registers(&self) -> Registers {
        let TrapFrame { rip, rsp, rbp, rflags, rax, rbx, rcx, rdx, rsi, rdi, .. } = *self;
        let TrapFrame { r8, r9, r10, r11, r12, r13, r14, r15, .. } = *self;
        let (cr2, cr3) = (Cr2::read_raw(), Cr3::read_raw().0.start_address().as_u64());
        Registers([
            rip, rsp, rbp, rflags, rax, rbx, rcx, rdx, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, cr2,
            cr3,
        ])
    }
}

// The stubs push two words, the entry 15, the processor five (SDM Vol. 3A, 6.14.2).
const _: () = assert!(size_of::<TrapFrame>() == (5 + 2 + 15) * 8);

/// The handler of vectors that have none registered.
pub(crate) const UNREGISTERED: Handler = unregistered;

/// The hook that acknowledges an interrupt on an unregistered vector to the interrupt controller, if it is in service.
static ACKNOWLEDGE: Hook<fn(Vector)> = Hook::new();

per_cpu! {
    /// The number of interrupts on vectors without a handler.
    pub(crate) static UNEXPECTED: AtomicU64 = AtomicU64::new(0);
    /// The nesting depth of handlers of NMI, #MC, #DF and #DB.
    static NMI_DEPTH: Cell<u32> = Cell::new(0);
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

/// Registers `handler` for `vector` on every CPU. `name` appears in the table of interrupt counts.
///
/// **Context:** thread or interrupt; not NMI. Takes a lock.
pub(crate) fn register(vector: Vector, name: &'static str, handler: Handler) {
    counts::set_name(vector, name);
    replace(vector, handler);
}

/// Sets the hook that acknowledges interrupts on unregistered vectors. The first call counts.
pub(crate) fn set_eoi_hook(acknowledge: fn(Vector)) {
    ACKNOWLEDGE.set(acknowledge);
}

#[unsafe(no_mangle)]
extern "C" fn interrupt_dispatch(frame: &mut TrapFrame) {
    handlers::dispatch(frame);
}

/// Acknowledges an interrupt, if it is in service in the local APIC.
fn acknowledge(vector: Vector) {
    if let Some(acknowledge) = ACKNOWLEDGE.get() {
        acknowledge(vector);
    }
}

#[cold]
fn unregistered(frame: &mut TrapFrame) {
    let vector = Vector::new(frame.vector as u8);
    let Some(name) = vector.exception() else {
        UNEXPECTED.increment();
        acknowledge(vector);
        return;
    };
    let cr2 = Cr2::read_raw();
    // A page fault on a stack that has overflowed cannot be delivered there and becomes a double fault. CR2 still has the
    // address.
    let hit = matches!(vector.get(), 8 | 14).then(|| GuardPageHit::at(cr2)).flatten();
    let overflow = hit.map(|hit| LineBuffer::<60>::format(format_args!("{hit}: "))).unwrap_or_default();
    let attempt = (vector.get() == 14).then_some(PageFault { error_code: frame.error_code, address: cr2 });
    let attempt =
        attempt.map(|fault| LineBuffer::<100>::format(format_args!(": {fault}"))).unwrap_or_default();
    panic::panic_now(&PanicCause {
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

/// The description of a page fault, from its error code (SDM Vol. 3A, 4.7) and CR2.
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

/// A stack that has overflowed into its guard page.
enum GuardPageHit {
    Boot,
    Of(CpuId, Stack),
}

impl GuardPageHit {
    fn at(address: u64) -> Option<GuardPageHit> {
        if image::is_boot_stack_guard(address) {
            return Some(GuardPageHit::Boot);
        }
        stacks::guard_at(address).map(|(cpu, stack)| GuardPageHit::Of(cpu, stack))
    }
}

impl fmt::Display for GuardPageHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GuardPageHit::Boot => f.write_str("boot stack overflow"),
            GuardPageHit::Of(cpu, stack) => write!(f, "{} stack overflow on cpu {cpu}", stack.name()),
        }
    }
}

/// Counts the NMIs that this CPU took in 32-bit code. If a machine check arrived there, this reports it and does not
/// return: only now the banks can be read.
///
/// **Context:** the BSP, once, at its first Rust function.
pub(crate) fn record_early_events(guard: &IrqGuard, handoff: &Handoff) {
    nmi::add_early(guard, handoff.nmis);
    if handoff.machine_checks > 0 {
        machine_check::report_deferred();
    }
}

/// Returns a table's limit and base for `lidt`.
fn idt_pointer(table: *const InterruptDescriptorTable) -> DescriptorTablePointer {
    let limit = (size_of::<InterruptDescriptorTable>() - 1) as u16;
    DescriptorTablePointer { limit, base: VirtAddr::from_ptr(table) }
}

/// Returns limit and base of the IDT for a CPU that has no TSS yet.
pub(crate) fn early_idt_pointer() -> DescriptorTablePointer {
    idt_pointer(boot::early_idt())
}

/// Loads the final IDT, in which #DB, NMI, #DF and #MC have IST stacks, by its address in the direct map.
///
/// # Safety
/// This CPU has loaded its TSS, which has these stacks.
pub(crate) unsafe fn load_idt() {
    // SAFETY: rt0 has filled all 256 gates with the addresses of the vectors' stubs. The table is never freed, and the
    // final page tables map it read-only. The stacks that its IST fields name are in this CPU's TSS, guaranteed by the
    // caller (see # Safety).
    unsafe { lidt(&idt_pointer(boot::final_idt())) };
}
