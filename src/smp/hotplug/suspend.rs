//! The last instructions of a CPU that goes offline, and the first after it has returned to its stack.

use core::arch::naked_asm;

/// Saves the callee-saved registers on the stack, stores the stack pointer in `context`, adds `step` to `state`, and
/// halts. After the addition it uses neither stack nor memory. Returns when [`resume`] is called on the same CPU.
/// Interrupts are off before and after.
///
/// # Safety
/// Both pointers are valid for writes. Other CPUs access `state` only by atomic operations of 32 bits. The stack below
/// the stored stack pointer may be reused after `step` has been added; the stack above it not before this returns.
#[unsafe(naked)]
pub(crate) unsafe extern "sysv64" fn suspend(context: *mut u64, state: *mut u32, step: u32) {
    // Seven words and the return address: the stored stack pointer is a multiple of 16. The locked addition becomes
    // visible after the earlier stores (SDM Vol. 3A, 9.2.3.8). It keeps the other bits of the word, which other CPUs
    // change concurrently.
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "mov [rdi], rsp",
        "lock add dword ptr [rsi], edx",
        "2:",
        "cli",
        "hlt",
        "jmp 2b",
    );
}

/// Returns from [`suspend`].
///
/// # Safety
/// `context` is the stack pointer that [`suspend`] has stored on this CPU, and the stack above it is unchanged.
/// Interrupts are off.
#[unsafe(naked)]
pub(crate) unsafe extern "sysv64" fn resume(context: u64) -> ! {
    naked_asm!(
        "mov rsp, rdi",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    );
}
