// The switch from one context to another (sched::switch).
//
// The ABI has the callee keep RBX, RBP and R12 to R15, so these and the stack pointer are the whole context: the compiler
// expects every other register to change at the call. The kernel uses no vector registers. The direction flag is clear at
// each call, and interrupts are off on both sides.

    .section .text.switch_context, "ax", @progbits

// switch_context(save: *mut u64, load: u64): saves this context, and continues with the one whose stack pointer is `load`.
    .balign 16
    .global octopod_switch_context
octopod_switch_context:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    retq

// Where the first switch to a new thread returns to. RBX is the thread, R12 its function. RBP is 0: backtraces end here.
    .balign 16
    .global octopod_begin_thread
octopod_begin_thread:
    movq %rbx, %rdi
    callq *%r12
    ud2
