// Executes `int n` with a pattern in every general register, including the stack pointer, and in the flags, and stores their values
// afterwards.
//
// Entry: interrupt_probe(instruction, distance), interrupts off. The values to load are in this CPU's PROBE, except the stack
// pointer: it is `distance` bytes below the caller's, with any alignment, and is stored there. The instruction is one of
// `interrupt_instructions`, which continue at `returned`.

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
    movq %rsp, %gs:PROBE + PROBE_CALLER_RSP(%rip)

    subq %rsi, %rsp
    movq %rsp, %gs:PROBE + PROBE_BEFORE + PROBE_RSP(%rip)
    pushq %rdi
    pushq %gs:PROBE + PROBE_BEFORE + PROBE_FLAGS(%rip)
    .irp register, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax
    movq %gs:PROBE + PROBE_BEFORE + PROBE_\register(%rip), %\register
    .endr
    popfq
    ret

returned:
    // No instruction changes the flags before they are saved.
    movq %rsp, %gs:PROBE + PROBE_AFTER + PROBE_RSP(%rip)
    movq %gs:PROBE + PROBE_CALLER_RSP(%rip), %rsp
    pushfq
    popq %gs:PROBE + PROBE_AFTER + PROBE_FLAGS(%rip)
    // Bit 1 is always set; interrupts are off, the direction is up.
    pushq $2
    popfq
    .irp register, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax
    movq %\register, %gs:PROBE + PROBE_AFTER + PROBE_\register(%rip)
    .endr
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret

// `int n` for each vector, 8 bytes each. Written as bytes, since assemblers encode `int 3` as the breakpoint instruction.
    .balign 8
    .global interrupt_instructions
interrupt_instructions:
    .set vector, 0
    .rept 256
    .balign 8
    .byte 0xcd, vector
    jmp returned
    .set vector, vector + 1
    .endr

// The shims of the vectors with an error code, 16 bytes each. `int n` pushes no error code, so the shim does, and the vector's stub
// finds the stack frame of a real exception.
    .balign 16
    .global interrupt_shims
interrupt_shims:
    .irp vector, 8, 10, 11, 12, 13, 14, 17, 21, 29, 30
    .balign 16
    pushq $PROBE_ERROR_CODE
    jmp interrupt_stubs + PROBE_STUB_BYTES * \vector
    .endr
