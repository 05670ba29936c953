//! FS base, which addresses the current thread.

use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::{self, PerCpu};
use crate::cpu::thread::{CurrentThread, Thread};
use crate::static_call;

static_call! {
    /// Writes FS base (SDM Vol. 3A, 3.4.4). **Context:** any; the address is canonical.
    fn write_fs_base(base: u64) = fs_base_by_msr => fs_base_by_instruction, if |features| features.fsgsbase;
}

#[unsafe(naked)]
extern "C" fn fs_base_by_msr(_base: u64) {
    core::arch::naked_asm!(
        "mov ecx, {msr}", "mov eax, edi", "mov rdx, rdi", "shr rdx, 32", "wrmsr", "ret",
        msr = const IA32_FS_BASE,
    )
}

#[unsafe(naked)]
extern "C" fn fs_base_by_instruction(_base: u64) {
    core::arch::naked_asm!("wrfsbase rdi", "ret")
}

/// The MSR with the base address of FS (SDM Vol. 4, table 2-2).
const IA32_FS_BASE: u32 = 0xc000_0100;

/// Makes a thread the current one of this CPU.
///
/// # Safety
/// `thread` is initialised ([`Thread::init`], `thread::prepare`) and stays valid until another one is made the current one. The caller runs on its stack,
/// or is about to.
#[inline(always)]
pub(crate) unsafe fn set_current(_: &IrqGuard, thread: *const Thread) {
    // SAFETY: the thread is valid, guaranteed by the caller (see # Safety).
    unsafe { (*thread).set_gs_base(per_cpu::gs_base()) };
    CurrentThread.set(thread.addr());
    write_fs_base(thread.addr() as u64);
}
