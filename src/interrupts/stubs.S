// The 256 interrupt stubs and their common entry.
//
// A stub counts the interrupt by one instruction, which an NMI cannot split, so that each delivery is counted. Then it
// makes all frames alike: it pushes a zero if the processor pushes no error code (SDM Vol. 3A, 6.13), then its own
// vector. The entry saves all general registers. The Rust code sees them as one structure (interrupts::TrapFrame), and
// the interrupted code continues with its values. The kernel is built without vector registers, so there is no further
// state. GS base is the kernel's own on every CPU at all times, because there is no user mode. So there is no swapgs, and
// no window in which an NMI would find a wrong GS base.
//
// The processor aligns the stack to 16 before it pushes 40 bytes. With the two words of the stub and 15 registers that
// makes 176, so the stack is aligned at the call.

    // A static key's site (cpu::static_key): a NOP that boot replaces by a jump if interrupts are traced.
    .macro TRACE_PLACE target
6:  .byte 0x0f, 0x1f, 0x44, 0x00, 0x00
    .pushsection .static_keys, "a", @progbits
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

    // Backtraces tell its calls by their return addresses, and find the interrupted code above them (panic/backtrace.rs).
    .global interrupt_entry
    .type interrupt_entry, @function
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
    // The handler counts as a reason for which interrupts are disabled (cpu::irq_guard).
    incq %gs:IRQ_DEPTH(%rip)
    jz 9f
1:  TRACE_PLACE 3f
2:  movq %rsp, %rdi
    call interrupt_dispatch
    // 0 if a switch to another thread is wanted and allowed (interrupts::preempt).
    cmpq $0, %gs:PREEMPT_WORD(%rip)
    je 8f
7:  TRACE_PLACE 4f
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

8:  movq %rsp, %rdi
    call interrupt_switch
    jmp 7b

    // The CPU was halted (IrqGuard::halt): it may have to flush its TLB before the handler uses a mapping.
    // As TlbWord::end_lazy: the bit is cleared first, by a locked instruction, then the generation is read.
9:  movq $1, %gs:IRQ_DEPTH(%rip)
    lock btrq $0, %gs:TLB_WORD(%rip)
    movq TLB_GENERATION(%rip), %rax
    cmpq %rax, %gs:TLB_WORD(%rip)
    je 1b
    call interrupt_wake
    jmp 1b

    // The trace's calls: every register of the interrupted code is on the stack.
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
    .global interrupt_entry_end
interrupt_entry_end:
    // No other symbol has that address.
    int3
    .size interrupt_entry, . - interrupt_entry
