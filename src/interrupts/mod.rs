//! Layer 5: interrupt entry and dispatch.
//!
//! Each of the 256 gates has a stub. All stubs jump to one entry, which saves every register and calls
//! `interrupt_dispatch`. Layers above register their handlers by vector and name ([`register`]). Each interrupt is
//! counted by CPU and vector ([`Counts`]). An exception on a vector without a handler causes a panic; other interrupts
//! without a handler are counted and acknowledged.

mod counts;
mod frame;
mod handlers;
pub(crate) mod machine_check;
mod nmi;
pub(crate) mod pic;
pub(crate) mod preempt;
mod program_vectors;
mod unregistered;
mod vector;

use x86_64::VirtAddr;
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::idt::InterruptDescriptorTable;

pub(crate) use counts::{COUNTS, Counts, name};
pub use frame::TrapFrame;
pub use handlers::Handler;
pub(crate) use handlers::{
    HandlerSlot, UNREGISTERED, handler, is_in_nmi, register, replace, reset_nmi_depth,
};
pub(crate) use nmi::EXTERNAL_NMIS;
pub(crate) use preempt::preempt_guard_site;
pub use preempt::{PreemptGuard, is_preemption_disabled};
pub use program_vectors::{NoFreeVector, ProgramHandler, ProgramVector};
pub(crate) use unregistered::{UNEXPECTED, set_eoi_hook, set_thread_name};
pub use vector::Vector;

use crate::boot::{self, Handoff};
use crate::cpu::{IrqGuard, irq_guard};
use crate::memory;
use crate::wire::TraceEvent;

/// The length of a vector's stub in bytes. The linker script checks it.
pub(crate) const STUB_BYTES: usize = 32;

core::arch::global_asm!(
    ".set STUB_BYTES, {stub_bytes}",
    ".set INTERRUPT_COUNTS, {counts}",
    ".set IRQ_DEPTH, {irq_depth}",
    ".set PREEMPT_WORD, {preempt_word}",
    ".set TLB_WORD, {tlb_word}",
    ".set TLB_GENERATION, {tlb_generation}",
    ".set TRACE_ENTER, {trace_enter}",
    ".set TRACE_EXIT, {trace_exit}",
    ".set TRACE_CLASS, {trace_class}",
    include_str!("stubs.S"),
    ".text",
    stub_bytes = const STUB_BYTES,
    counts = sym counts::TEMPLATE,
    irq_depth = sym irq_guard::IRQ_DEPTH,
    preempt_word = sym preempt::WORD,
    tlb_word = sym memory::TLB_WORD_STORAGE,
    tlb_generation = sym memory::TLB_GENERATION,
    trace_enter = const TraceEvent::InterruptEnter as u32,
    trace_exit = const TraceEvent::InterruptExit as u32,
    trace_class = const TraceEvent::InterruptEnter.class() as u32,
    options(att_syntax)
);

#[unsafe(no_mangle)]
extern "C" fn interrupt_dispatch(frame: &mut TrapFrame) {
    handlers::dispatch(frame);
}

#[unsafe(no_mangle)]
extern "C" fn interrupt_switch(frame: &mut TrapFrame) {
    preempt::at_exit(frame);
}

/// The first thing that a halted CPU does when an interrupt wakes it and a generation has begun meanwhile: it flushes its TLB, so that it
/// can use mappings. The interrupt entry has ended its being lazy.
#[unsafe(no_mangle)]
extern "C" fn interrupt_wake() {
    // SAFETY: the interrupt entry has set the count to 1, for the handler that follows. The reference ends with this call.
    memory::flush_this_cpu(unsafe { IrqGuard::of_handler() });
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
