// The code of the AP trampoline.
//
// The BSP (smp::bring_up::trampoline) copies ap_trampoline_start..end to the start of two pages below 1 MiB and fills in the
// mailbox at MAILBOX in the first page. A start-up IPI with the number of that page starts an AP at its first byte.
//
// Entry: real mode, CS = page >> 4, IP = 0, CR0.CD and NW set, all other registers as after INIT (SDM Vol. 3A, 9.1.1).
// Exit: *MAILBOX_ENTRY(slot) in 64-bit mode, on the slot's stack, GS and FS base loaded, on the kernel's early GDT and IDT,
//     on the trampoline's page tables (the kernel's half, and these two pages at their physical addresses).
//
// All APs run this code at the same time. An AP has no memory of its own until it has claimed its slot: it keeps its state in
// registers, and sets one bit for each stage in the second page, indexed by its APIC ID. An AP without a slot to claim has no
// stack, so it halts here; the pages are never freed.
//     ebx = APIC ID (in real mode CPUID's, from protected mode on the local APIC's), edi:esi = TSC in real mode,
//     cr2 = TSC in protected mode minus TSC in real mode, ebp = the physical address of the first page
//
// NMI and machine check. INIT masks NMIs, and the kernel sends no NMI to a CPU that is not online, but a broadcast or a device
// can. Up to CR0.PG, about sixty instructions, an NMI finds no gate. From there on the handlers count both events; the kernel
// reports a machine check later. The processor pushes the return frame on a stack that all APs share, so another AP can overwrite
// it. The handler therefore does not use it, but continues at one of four addresses. EDX and a flag that the committing
// instruction changes select the address:
//     EDX = 0, or CLAIMING without ZF: no effect yet; restart at long_mode
//     CLAIMING with ZF: `cmpxchg` has claimed the slot; continue after it
//     LATE without CF: not counted yet; count
//     LATE with CF: counted; halt
// From the load of RSP with the slot's stack on, the handler returns normally.

    .set CLAIMING, 1
    .set LATE, 2

// Fault injection: the AP waits at the end of a stage until HOLD_IS_ON is 0. \base is the address of the first page.
    .macro HOLD stage, base
    .if FAULTS
    cmpl %ebx, HOLD_APIC_ID\base
    jne 9f
    cmpl $\stage, HOLD_STAGE\base
    jne 9f
8:  pause
    cmpl $0, HOLD_IS_ON\base
    jne 8b
9:
    .endif
    .endm

    .section .ap_trampoline, "a", @progbits
    .balign 16
    .global ap_trampoline_start
ap_trampoline_start:
    .code16
real_mode:
    cli
    cld
    rdtsc
    movl %eax, %esi
    movl %edx, %edi
    movw %cs, %ax
    movw %ax, %ds

    // CPUID leaves 1FH and 0BH return the 32-bit APIC ID, if they exist (SDM Vol. 3A, 11.12.8); leaf 1 its low eight bits.
    xorl %eax, %eax
    cpuid
    movl %eax, %ebp
    movl $0x1f, %eax
    cmpl %eax, %ebp
    jb 1f
    xorl %ecx, %ecx
    cpuid
    testl %ebx, %ebx
    jnz 2f
1:  movl $0xb, %eax
    cmpl %eax, %ebp
    jb 3f
    xorl %ecx, %ecx
    cpuid
    testl %ebx, %ebx
    jz 3f
2:  movl %edx, %ebx
    jmp 4f
3:  movl $1, %eax
    cpuid
    shrl $24, %ebx
4:
    .if FAULTS
    xorl HOLD_WRONG_ID_BITS, %ebx
    .endif
    cmpl $SEEN_BITS, %ebx
    jae 1f
    lock btsl %ebx, SEEN_REAL_MODE
1:
    HOLD STAGE_REAL_MODE
    xorl %ebp, %ebp
    movw %cs, %bp
    shll $4, %ebp
    lgdtl MAILBOX_GDT_POINTER
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl *MAILBOX_PROTECTED_MODE

    .code32
    .global ap_trampoline_protected_mode
ap_trampoline_protected_mode:
    movl $DATA_SELECTOR, %eax
    movl %eax, %ds
    movl %eax, %es
    // DS override: an address with EBP uses SS, which still has the limit of real mode.
    lssl %ds:MAILBOX_SCRATCH_STACK(%ebp), %esp
    rdtsc
    subl %esi, %eax
    // CR2 serves as a register: there is no page fault before the value is read.
    movl %eax, %cr2

    // IPIs are addressed by the local APIC's ID, so that ID is used. An xAPIC has eight bits (SDM Vol. 3A, 11.4.6): if they equal
    // the low bits of CPUID's ID, the full ID is CPUID's. CPUID's ID is also used if the local APIC is disabled or its registers
    // are above 4 GiB. Paging is off.
    movl $IA32_APIC_BASE, %ecx
    rdmsr
    testl $APIC_BASE_EXTD, %eax
    jnz 1f
    testl $APIC_BASE_EN, %eax
    jz 2f
    testl %edx, %edx
    jnz 2f
    andl $0xfffff000, %eax
    movl XAPIC_ID(%eax), %eax
    shrl $24, %eax
    cmpb %al, %bl
    je 2f
    movl %eax, %ebx
    jmp 2f
1:  movl $X2APIC_ID, %ecx
    rdmsr
    movl %eax, %ebx
2:
    cmpl $SEEN_BITS, %ebx
    jae 1f
    lock btsl %ebx, SEEN_PROTECTED_MODE(%ebp)
1:
    HOLD STAGE_PROTECTED_MODE, (%ebp)
    // The BSP's control registers. EFER before CR3, because the page tables use NX.
    movl MAILBOX_CR4(%ebp), %eax
    movl %eax, %cr4
    movl $IA32_EFER, %ecx
    movl MAILBOX_EFER(%ebp), %eax
    xorl %edx, %edx
    wrmsr
    movl MAILBOX_CR3(%ebp), %eax
    movl %eax, %cr3
    // 64-bit gates, valid from the load of CR0 on. EDX is 0.
    lidtl MAILBOX_OWN_IDT_POINTER(%ebp)
    movl MAILBOX_CR0(%ebp), %eax
    movl %eax, %cr0
    .global ap_trampoline_paging
ap_trampoline_paging:
    ljmpl *MAILBOX_LONG_MODE(%ebp)

    .code64
    .global ap_trampoline_long_mode
ap_trampoline_long_mode:
    xorl %edx, %edx
    // The upper halves are undefined after the change of mode (SDM Vol. 1, 3.4.1.1).
    movl %ebx, %ebx
    movl %ebp, %ebp
    movl %esi, %esi
    movl %edi, %edi

    // r8 = the slot of this APIC ID, by binary search: ecx <= its index < r11d. A linear search by a thousand APs would read half
    // a million slots.
    movq MAILBOX_SLOTS(%rbp), %r9
    xorl %ecx, %ecx
    movl MAILBOX_SLOT_COUNT(%rbp), %r11d
1:  cmpl %r11d, %ecx
    jae park_late_ap
    leal (%rcx, %r11), %eax
    shrl $1, %eax
    imulq $SLOT_BYTES, %rax, %r8
    addq %r9, %r8
    cmpl %ebx, SLOT_APIC_ID(%r8)
    je 2f
    cmoval %eax, %r11d
    ja 1b
    leal 1(%rax), %ecx
    jmp 1b
2:  movl $STATE_WAITING, %eax
    movl $STATE_CLAIMED, %ecx
    // ZF = 0.
    orl $CLAIMING, %edx
    lock cmpxchgl %ecx, SLOT_STATE(%r8)
    jne park_late_ap
    .global ap_trampoline_claimed
ap_trampoline_claimed:
    movq SLOT_STACK_TOP(%r8), %rsp

    shlq $32, %rdi
    orq %rsi, %rdi
    movq %rdi, SLOT_STAMP_REAL_MODE(%r8)
    movq %cr2, %r10
    movl %r10d, %r10d
    addq %r10, %rdi
    movq %rdi, SLOT_STAMP_PROTECTED_MODE(%r8)
    rdtsc
    shlq $32, %rdx
    orq %rdx, %rax
    movq %rax, SLOT_STAMP_LONG_MODE(%r8)
    movl $STAGE_LONG_MODE, SLOT_STAGE(%r8)
    HOLD STAGE_LONG_MODE, (%rbp)

    movl $IA32_GS_BASE, %ecx
    movl SLOT_GS_BASE(%r8), %eax
    movl SLOT_GS_BASE + 4(%r8), %edx
    wrmsr
    movl $IA32_FS_BASE, %ecx
    movl SLOT_FS_BASE(%r8), %eax
    movl SLOT_FS_BASE + 4(%r8), %edx
    wrmsr
    // From here on the kernel's handlers can run. The kernel's GDT has the same selectors.
    lgdt MAILBOX_KERNEL_GDT_POINTER(%rbp)
    lidt MAILBOX_KERNEL_IDT_POINTER(%rbp)
    movq %r8, %rdi
    movq MAILBOX_ENTRY(%rbp), %rax
    // The end of the chain of frame pointers.
    xorl %ebp, %ebp
    pushq %rbp
    jmp *%rax

// An AP without a slot in the state `Waiting`. It uses no stack.
park_late_ap:
    // CF = 0.
    orl $LATE, %edx
    .global ap_trampoline_count
ap_trampoline_count:
    movq MAILBOX_LATE_APS(%rbp), %rax
    // Increment by a subtraction, which sets CF unless the counter wraps to 0.
    lock subl $-1, (%rax)
    .global ap_trampoline_halt
ap_trampoline_halt:
1:  cli
    hlt
    jmp 1b

// 64-bit mode, on the shared stack or on the slot's; EBP = the first page, the upper half of RBP is undefined. Pushes and moves
// preserve the interrupted code's flags.
    .macro EVENT counter
    pushq %rax
    pushq %rcx
    setz %al
    setc %ah
    movl %ebp, %ebp
    movq \counter(%rbp), %rcx
    lock incl (%rcx)
    movq %rsp, %rcx
    subq %rbp, %rcx
    cmpq $TRAMPOLINE_BYTES, %rcx
    jb on_shared_stack
    popq %rcx
    popq %rax
    iretq
    .endm

    .global ap_trampoline_nmi
ap_trampoline_nmi:
    EVENT MAILBOX_NMIS

    .global ap_trampoline_machine_check
ap_trampoline_machine_check:
    EVENT MAILBOX_MACHINE_CHECKS

on_shared_stack:
    testb $LATE, %dl
    jnz 2f
    testb $CLAIMING, %dl
    jz 1f
    testb %al, %al
    jz 1f
    leaq MAILBOX_CLAIMED(%rbp), %rsp
    iretq
1:  leaq MAILBOX_RESTART(%rbp), %rsp
    iretq
2:  testb %ah, %ah
    jnz 3f
    leaq MAILBOX_COUNT(%rbp), %rsp
    iretq
3:  leaq MAILBOX_HALT(%rbp), %rsp
    iretq
    .global ap_trampoline_end
ap_trampoline_end:
