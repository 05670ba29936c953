//! The registers of interrupted code.

use x86_64::registers::control::{Cr2, Cr3};

use crate::cpu::IrqGuard;
use crate::wire::Registers;

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

const _: () = {
    use core::mem::offset_of;

    use crate::panic::{INTERRUPTED_RIP, INTERRUPTED_RSP};

    assert!(offset_of!(TrapFrame, rip) as u64 == INTERRUPTED_RIP);
    assert!(offset_of!(TrapFrame, rsp) as u64 == INTERRUPTED_RSP);
};

// The stubs push two words, the entry 15, the processor five (SDM Vol. 3A, 6.14.2).
const _: () = assert!(size_of::<TrapFrame>() == (5 + 2 + 15) * 8);
