//! Faults of the page tables: an access that they must refuse, and a mapping that the audit must find.

use core::sync::atomic::AtomicU8;

use super::injection::{Injection, Point, on_last_cpu};
use super::names::Fault;
use crate::boot::{self, direct_map};
use crate::memory;

pub(super) const INJECTIONS: &[Injection] = &[
    Injection(Point::BeforeAudit, Fault::WritableText, map_text_writable),
    Injection(Point::BeforeWork, Fault::WriteText, || on_last_cpu(&|| write_to(text()))),
    Injection(Point::BeforeWork, Fault::WriteConstants, || on_last_cpu(&|| write_to(address(&CONSTANT)))),
    Injection(Point::BeforeWork, Fault::WriteIdt, || {
        on_last_cpu(&|| write_to(boot::final_idt().addr() as u64));
    }),
    Injection(Point::BeforeWork, Fault::ExecuteData, || on_last_cpu(&|| execute(address(&RETURN)))),
    Injection(Point::BeforeWork, Fault::TouchPage0, || on_last_cpu(&|| read_from(direct_map::virt(0x10)))),
    Injection(Point::BeforeWork, Fault::TouchNull, || on_last_cpu(&|| read_from(0x10))),
];

fn map_text_writable() {
    memory::map_text_writable().expect("memory for a page table");
}

fn text() -> u64 {
    write_to as *const () as u64
}

fn address<T>(value: &'static T) -> u64 {
    (&raw const *value).addr() as u64
}

static CONSTANT: [u64; 2] = [0x0c70_90d0, 8];

/// The machine code of `ret`, in data.
static RETURN: AtomicU8 = AtomicU8::new(0xc3);

fn write_to(address: u64) {
    // SAFETY: none is needed: the write raises an exception. In assembly, so that the compiler assumes nothing.
    unsafe { core::arch::asm!("mov byte ptr [{}], 0xcc", in(reg) address, options(nostack)) };
}

fn read_from(address: u64) {
    // SAFETY: none is needed: the read raises an exception. In assembly, so that the compiler assumes nothing.
    unsafe { core::arch::asm!("mov {0:e}, dword ptr [{0}]", inout(reg) address => _, options(nostack)) };
}

fn execute(address: u64) {
    // SAFETY: none is needed: the call raises an exception, or returns at once. In assembly, so that the compiler assumes
    // nothing.
    unsafe { core::arch::asm!("call {}", in(reg) address, clobber_abi("C")) };
}
