//! Interrupts on vectors that have no handler: an exception causes a panic, other interrupts are counted and acknowledged.

use core::fmt;
use core::sync::atomic::AtomicU64;

use x86_64::registers::control::Cr2;

use super::frame::TrapFrame;
use super::vector::Vector;
use crate::boot::image;
use crate::console::LineBuffer;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{CpuId, thread};
use crate::memory::frames::FRAME_BYTES;
use crate::memory::mapping_region;
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

/// Writes the name of the running thread.
static THREAD_NAME: Hook<fn(&mut fmt::Formatter<'_>) -> fmt::Result> = Hook::new();

/// Sets the function that writes the name of the running thread, in any context. Only the first call has an effect.
///
/// **Context:** boot, on the BSP.
pub(crate) fn set_thread_name(write: fn(&mut fmt::Formatter<'_>) -> fmt::Result) {
    THREAD_NAME.set(write);
}

/// A stack that has overflowed into its guard page.
enum GuardPageHit {
    Boot,
    Of(CpuId, Stack),
    /// The running thread's, which is a mapping.
    Thread,
}

impl GuardPageHit {
    fn at(address: u64) -> Option<GuardPageHit> {
        if image::is_boot_stack_guard(address) {
            return Some(GuardPageHit::Boot);
        }
        if let Some((cpu, stack)) = stacks::guard_at(address) {
            return Some(GuardPageHit::Of(cpu, stack));
        }
        let (start, end) = mapping_region();
        let bottom = thread::current().stack().start;
        let is_mapping = (start..end).contains(&bottom);
        (is_mapping && (bottom - FRAME_BYTES as u64..bottom).contains(&address))
            .then_some(GuardPageHit::Thread)
    }
}

impl fmt::Display for GuardPageHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GuardPageHit::Boot => f.write_str("boot stack overflow"),
            GuardPageHit::Thread => {
                f.write_str("stack overflow of thread ")?;
                THREAD_NAME.get().map_or(Ok(()), |write| write(f))
            }
            GuardPageHit::Of(cpu, stack) => write!(f, "{} stack overflow on cpu {cpu}", stack.name()),
        }
    }
}
