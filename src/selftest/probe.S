// Enters an interrupt stub as the processor does, with every general register and the flags set to a pattern, and
// notes what they are afterwards.
//
// Entry: interrupt_probe(stub, has_error_code, *const Registers, *mut Registers), interrupts off.
// The frame is the one of SDM Vol. 3A, 6.14.2; IRETQ brings the code back to the label `returned`.

    .text
    .global interrupt_probe
interrupt_probe:
    pushq %rbp
    movq %rsp, %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushq %rcx

    // The processor aligns the stack before it pushes anything.
    movq %rsp, %rax
    andq $-16, %rsp
    movl %ss, %r8d
    pushq %r8
    pushq %rax
    pushq PROBE_FLAGS(%rdx)
    movl %cs, %r8d
    pushq %r8
    leaq returned(%rip), %r8
    pushq %r8
    testq %rsi, %rsi
    jz 1f
    pushq $PROBE_ERROR_CODE
1:  pushq %rdi

    movq PROBE_R15(%rdx), %r15
    movq PROBE_R14(%rdx), %r14
    movq PROBE_R13(%rdx), %r13
    movq PROBE_R12(%rdx), %r12
    movq PROBE_R11(%rdx), %r11
    movq PROBE_R10(%rdx), %r10
    movq PROBE_R9(%rdx), %r9
    movq PROBE_R8(%rdx), %r8
    movq PROBE_RBP(%rdx), %rbp
    movq PROBE_RDI(%rdx), %rdi
    movq PROBE_RSI(%rdx), %rsi
    movq PROBE_RCX(%rdx), %rcx
    movq PROBE_RBX(%rdx), %rbx
    movq PROBE_RAX(%rdx), %rax
    movq PROBE_RDX(%rdx), %rdx
    ret

returned:
    // The stack is where it was before the frame: *mut Registers lies on top.
    pushfq
    cld
    pushq %rdx
    movq 16(%rsp), %rdx
    movq %r15, PROBE_R15(%rdx)
    movq %r14, PROBE_R14(%rdx)
    movq %r13, PROBE_R13(%rdx)
    movq %r12, PROBE_R12(%rdx)
    movq %r11, PROBE_R11(%rdx)
    movq %r10, PROBE_R10(%rdx)
    movq %r9, PROBE_R9(%rdx)
    movq %r8, PROBE_R8(%rdx)
    movq %rbp, PROBE_RBP(%rdx)
    movq %rdi, PROBE_RDI(%rdx)
    movq %rsi, PROBE_RSI(%rdx)
    movq %rcx, PROBE_RCX(%rdx)
    movq %rbx, PROBE_RBX(%rdx)
    movq %rax, PROBE_RAX(%rdx)
    popq %rax
    movq %rax, PROBE_RDX(%rdx)
    popq %rax
    movq %rax, PROBE_FLAGS(%rdx)
    popq %rcx
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
