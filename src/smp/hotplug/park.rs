//! The last and the first instructions of a CPU that is away.

use core::arch::naked_asm;

/// Keeps on the stack what a function keeps for its caller, leaves the stack pointer at `context`, adds `step` to `state`, and
/// halts: from that addition on it touches neither stack nor memory. Returns when [`go_on`] is called on the same CPU.
/// Interrupts are off before and after.
///
/// # Safety
/// Both pointers are writable; other CPUs access `state` by atomic operations of 32 bits. The stack below the context may be
/// used again once `step` has been added; above it, not before this returns.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn park(context: *mut u64, state: *mut u32, step: u32) {
    // The context lies at a multiple of 16: seven words and the return address. The locked addition becomes visible after
    // the stores before it (SDM Vol. 3A, 9.2.3.8); it keeps the other bits of the word, which other CPUs change meanwhile.
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

/// Goes on where [`park`] was called.
///
/// # Safety
/// `context` is what `park` left on this CPU, whose stack above it is as it was. Interrupts are off.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn go_on(context: u64) -> ! {
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
