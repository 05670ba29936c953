// The page in which an application processor wakes up.
//
// Who copies it, and where: the boot processor (smp::trampoline) copies ap_trampoline_start..end to the start of a
// page below 1 MiB and fills in the mailbox at MAILBOX in the same page. A start-up IPI with that page's number
// starts the processor at its first byte.
//
// Entry: real mode, CS = page >> 4, IP = 0, CR0.CD and NW set, everything else as after INIT (SDM Vol. 3A, 9.1.1).
// Exit: *MAILBOX_ENTRY(slot) in 64-bit mode, on the slot's stack, GS base and IDT loaded, on the trampoline's page
//     tables still (the kernel's half and this one page at its physical address).
//
// All processors run this at once, so until one has claimed its slot it has no memory of its own: what it knows it
// keeps in registers, and where it was it leaves behind as a bit in this page, found by its APIC ID.
// A processor that finds no slot to claim has no stack either, so it halts here, and the page is never given back.
//     ebx = APIC ID, edi:esi = TSC in real mode, esp = TSC in protected mode less that, ebp = this page

// A deliberate fault: the processor waits at the end of a stage until it is let go. \base is the page's.
    .macro HOLD stage, base
    .if FAULTS
    cmpl %ebx, MAILBOX_HOLD_APIC_ID\base
    jne 9f
    cmpl $\stage, MAILBOX_HOLD_STAGE\base
    jne 9f
8:  pause
    cmpl $0, MAILBOX_HOLD_IS_ON\base
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

    // Leaf 0BH has the full 32-bit ID, where it exists (SDM Vol. 3A, 11.12.8); else the first eight bits do.
    xorl %eax, %eax
    cpuid
    cmpl $0xb, %eax
    jb 1f
    movl $0xb, %eax
    xorl %ecx, %ecx
    cpuid
    testl %ebx, %ebx
    jz 1f
    movl %edx, %ebx
    jmp 2f
1:  movl $1, %eax
    cpuid
    shrl $24, %ebx
2:
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
    movl %eax, %ss
    rdtsc
    subl %esi, %eax
    movl %eax, %esp
    cmpl $SEEN_BITS, %ebx
    jae 1f
    lock btsl %ebx, SEEN_PROTECTED_MODE(%ebp)
1:
    HOLD STAGE_PROTECTED_MODE, (%ebp)
    // The boot processor's own control registers; EFER before CR3, whose tables use NX.
    movl MAILBOX_CR4(%ebp), %eax
    movl %eax, %cr4
    movl $IA32_EFER, %ecx
    movl MAILBOX_EFER(%ebp), %eax
    xorl %edx, %edx
    wrmsr
    movl MAILBOX_CR3(%ebp), %eax
    movl %eax, %cr3
    movl MAILBOX_CR0(%ebp), %eax
    movl %eax, %cr0
    ljmpl *MAILBOX_LONG_MODE(%ebp)

    .code64
    .global ap_trampoline_long_mode
ap_trampoline_long_mode:
    // The upper halves are undefined after the change of mode (SDM Vol. 1, 3.4.1.1).
    movl %ebx, %ebx
    movl %ebp, %ebp
    movl %esi, %esi
    movl %edi, %edi
    movl %esp, %r10d
    lidt MAILBOX_IDT_POINTER(%rbp)

    // r8 = the slot that bears this APIC ID, by bisection: ecx <= its number < edx. All processors do this at once, and a
    // thousand of them would step over half a million slots one by one.
    movq MAILBOX_SLOTS(%rbp), %r9
    xorl %ecx, %ecx
    movl MAILBOX_SLOT_COUNT(%rbp), %edx
1:  cmpl %edx, %ecx
    jae go_away
    leal (%rcx, %rdx), %eax
    shrl $1, %eax
    imulq $SLOT_BYTES, %rax, %r8
    addq %r9, %r8
    cmpl %ebx, SLOT_APIC_ID(%r8)
    je 2f
    cmoval %eax, %edx
    ja 1b
    leal 1(%rax), %ecx
    jmp 1b
2:  movl $STATE_WAITING, %eax
    movl $STATE_CLAIMED, %ecx
    lock cmpxchgl %ecx, SLOT_STATE(%r8)
    jne go_away

    shlq $32, %rdi
    orq %rsi, %rdi
    movq %rdi, SLOT_STAMP_REAL_MODE(%r8)
    addq %r10, %rdi
    movq %rdi, SLOT_STAMP_PROTECTED_MODE(%r8)
    rdtsc
    shlq $32, %rdx
    orq %rdx, %rax
    movq %rax, SLOT_STAMP_LONG_MODE(%r8)
    movl $STAGE_LONG_MODE, SLOT_STAGE(%r8)
    HOLD STAGE_LONG_MODE, (%rbp)

    movq SLOT_STACK_TOP(%r8), %rsp
    movl $IA32_GS_BASE, %ecx
    movl SLOT_GS_BASE(%r8), %eax
    movl SLOT_GS_BASE + 4(%r8), %edx
    wrmsr
    movq %r8, %rdi
    movq MAILBOX_ENTRY(%rbp), %rax
    // The end of every chain of frame pointers.
    xorl %ebp, %ebp
    pushq %rbp
    jmp *%rax

// A processor that nobody waits for, or waits for no longer. It has no stack and needs none: interrupts are off, INIT has
// masked its NMI pins, and nobody sends an NMI to a CPU that is not online.
go_away:
    movq MAILBOX_STRAYS(%rbp), %rax
    lock incl (%rax)
1:  cli
    hlt
    jmp 1b
    .global ap_trampoline_end
ap_trampoline_end:
