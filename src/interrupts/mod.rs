//! Layer 5: from a gate to a handler.
//!
//! All 256 gates lead through their own stub to one entry, which saves every register and calls
//! `interrupt_dispatch`. Layers above register their handlers by vector and name ([`register`]); each interrupt is
//! counted by CPU and vector ([`Counts`]), and on a vector that nobody has registered it is, if the CPU raised it
//! itself, fatal.

mod counts;
mod handlers;
pub(crate) mod machine_check;
pub(crate) mod pic;
mod vector;

use core::fmt;
use core::sync::atomic::AtomicU64;

use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::tables::lidt;
use x86_64::registers::control::{Cr2, Cr3};
use x86_64::structures::DescriptorTablePointer;

pub(crate) use counts::{COUNTS, Counts, name};
pub use handlers::Handler;
pub(crate) use handlers::{HandlerSlot, handler, replace};
pub use vector::Vector;

use crate::boot::{self, image};
use crate::console::LineBuffer;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{CpuId, IrqGuard, IstStack, irq_guard};
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
}

/// From now on `handler` gets the interrupts on `vector`, on every CPU. The name stands in the table of counts.
pub(crate) fn register(vector: Vector, name: &'static str, handler: Handler) {
    counts::set_name(vector, name);
    replace(vector, handler);
}

/// Where a vector's stub lies.
fn stub(vector: u8) -> u64 {
    ((&raw const interrupt_stubs).addr() + usize::from(vector) * STUB_BYTES) as u64
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

/// Gives the vectors that need one their own stacks. Once, after every CPU that may take them has a TSS.
///
/// # Safety
/// Called by the boot processor, after it has loaded its TSS and before any other CPU runs.
pub(crate) unsafe fn use_interrupt_stacks() {
    // SAFETY: nobody else touches the table now; the processor reads a gate only when it is used.
    let idt = unsafe { &mut *boot::idt() };
    let stub = |vector| VirtAddr::new(stub(vector));
    // SAFETY: the addresses are those of the vectors' own stubs, as rt0 set them; every CPU's TSS has these stacks.
    unsafe {
        idt.double_fault.set_handler_addr(stub(8)).set_stack_index(IstStack::DoubleFault.index());
        idt.non_maskable_interrupt.set_handler_addr(stub(2)).set_stack_index(IstStack::Nmi.index());
        idt.machine_check.set_handler_addr(stub(18)).set_stack_index(IstStack::MachineCheck.index());
        idt.debug.set_handler_addr(stub(1)).set_stack_index(IstStack::Debug.index());
    }
    load_idt();
}

unsafe extern "C" {
    static interrupt_stubs: u8;
}

/// The table's limit and base, as `lidt` takes them.
pub(crate) fn idt_pointer() -> DescriptorTablePointer {
    DescriptorTablePointer { limit: 256 * 16 - 1, base: VirtAddr::new(boot::idt().addr() as u64) }
}

/// Loads the table on this CPU, by its address in the direct map.
pub(crate) fn load_idt() {
    // SAFETY: rt0 filled all 256 gates, and the table lives for good.
    unsafe { lidt(&idt_pointer()) };
}
