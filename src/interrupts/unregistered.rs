//! Interrupts on vectors that have no handler: an exception causes a panic, other interrupts are counted and acknowledged.

use core::fmt;
use core::sync::atomic::AtomicU64;

use x86_64::registers::control::Cr2;

use super::frame::TrapFrame;
use super::vector::Vector;
use crate::boot::image;
use crate::console::LineBuffer;
use crate::cpu::CpuId;
use crate::cpu::per_cpu::PerCpu;
use crate::memory::stacks::{self, Stack};
use crate::panic::{self, PanicCause};
use crate::per_cpu;
use crate::sync::Hook;

/// The hook that acknowledges an interrupt on an unregistered vector to the interrupt controller, if it is in service.
static ACKNOWLEDGE: Hook<fn(Vector)> = Hook::new();

per_cpu! {
    /// The number of interrupts on vectors without a handler.
    pub(crate) static UNEXPECTED: AtomicU64 = AtomicU64::new(0);
}

/// Sets the hook that acknowledges interrupts on unregistered vectors. The first call counts.
pub(crate) fn set_eoi_hook(acknowledge: fn(Vector)) {
    ACKNOWLEDGE.set(acknowledge);
}

/// Acknowledges an interrupt, if it is in service in the local APIC.
pub(super) fn acknowledge(vector: Vector) {
    if let Some(acknowledge) = ACKNOWLEDGE.get() {
        acknowledge(vector);
    }
}

#[cold]
pub(super) fn unregistered(frame: &mut TrapFrame) {
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
