// The 256 interrupt stubs and the one entry behind them.
//
// A stub counts the interrupt, by one instruction that an NMI cannot split; whatever happens later, it is in the books.
// Then it makes every frame alike: it pushes a zero where the processor pushes no error code (SDM Vol. 3A, 6.13),
// then its own vector. The entry saves all general registers, so that the Rust side sees them as one structure
// (interrupts::Frame) and whatever it leaves there is what the interrupted code gets back. The kernel is built
// without vector registers, so there is no further state. GS base is the kernel's own on every CPU at all times
// (there is no user mode), so no swapgs and no window in which an NMI would find a wrong one.
//
// The processor aligned the stack to 16 before it pushed 40 bytes; with the two words of the stub and 15 registers
// that makes 176, so the call happens on an aligned stack.

    // A static branch (cpu::branch): a NOP that boot turns into a jump where interrupts are traced.
    .macro TRACE_PLACE target
6:  .byte 0x0f, 0x1f, 0x44, 0x00, 0x00
    .pushsection .branches, "a", @progbits
    .balign 4
    .long 6b - .
    .long \target - .
    .long TRACE_CLASS
    .popsection
    .endm

    .section .text.interrupt_stubs, "ax", @progbits
    .balign STUB_BYTES
    .global interrupt_stubs
interrupt_stubs:
    .set vector, 0
    .rept 256
    .balign STUB_BYTES
    incq %gs:INTERRUPT_COUNTS + 8 * vector(%rip)
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    pushq $0
    .endif
    pushq $vector
    jmp interrupt_entry
    .set vector, vector + 1
    .endr
    .balign STUB_BYTES
    .global interrupt_stubs_end
interrupt_stubs_end:

interrupt_entry:
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    // The handler counts as a reason for which interrupts are off (cpu::irq_guard).
    incq %gs:IRQ_DEPTH(%rip)
    TRACE_PLACE 3f
2:  movq %rsp, %rdi
    call interrupt_dispatch
    TRACE_PLACE 4f
5:  decq %gs:IRQ_DEPTH(%rip)
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rbp
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    addq $16, %rsp
    iretq

    // Where the trace records them: every register of the interrupted code is on the stack.
3:  movl $TRACE_ENTER, %edi
    movq 15 * 8(%rsp), %rsi
    movq 17 * 8(%rsp), %r8
    call octopod_trace_record
    jmp 2b
4:  movl $TRACE_EXIT, %edi
    movq 15 * 8(%rsp), %rsi
    xorl %r8d, %r8d
    call octopod_trace_record
    jmp 5b
