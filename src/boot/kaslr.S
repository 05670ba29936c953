// The random number for the direct map's base. Called by rt0.S. Clobbers all registers except ebp and esp.

    .section .rt0, "ax", @progbits
    .code32
// Returns a random number in eax; 0 if the command line contains kaslr=off. Stores the entropy source in the handoff.
kaslr_random:
    movl $KASLR_OFF, %edi
    movl (command_line - rt0_entry)(%ebp), %esi
    testl %esi, %esi
    jz 2f
    movl $COMMAND_LINE_LIMIT, %ecx
    // The parameter must be a whole word: preceded by a space or the start, followed by a space or the end.
1:  leal (message_kaslr_off - rt0_entry)(%ebp), %edx
    movl %esi, %ebx
3:  movb (%edx), %al
    testb %al, %al
    jz 4f
    cmpb %al, (%ebx)
    jne 5f
    incl %edx
    incl %ebx
    jmp 3b
4:  cmpb $0x20, (%ebx)
    ja 5f
    xorl %eax, %eax
    jmp kaslr_done
5:  // Skip to the next word.
    movb (%esi), %al
    testb %al, %al
    jz 2f
    incl %esi
    decl %ecx
    jz 2f
    cmpb $0x20, %al
    ja 5b
    jmp 1b

2:  movl $KASLR_RDSEED, %edi
    xorl %eax, %eax
    cpuid
    cmpl $7, %eax
    jb 2f
    movl $7, %eax
    xorl %ecx, %ecx
    cpuid
    testl $(1 << 18), %ebx
    jz 2f
    movl $KASLR_TRIES, %ecx
1:  rdseed %eax
    jc kaslr_done
    decl %ecx
    jnz 1b
2:  movl $KASLR_RDRAND, %edi
    movl $1, %eax
    cpuid
    testl $(1 << 30), %ecx
    jz 2f
    movl $KASLR_TRIES, %ecx
1:  rdrand %eax
    jc kaslr_done
    decl %ecx
    jnz 1b
    // The TSC's low bits are the least predictable. Multiplying by an odd constant spreads them over the word.
2:  movl $KASLR_TSC, %edi
    rdtsc
    imull $0x9e3779b1, %eax, %eax
    shrl $12, %eax
kaslr_done:
    movl %edi, rt0_off_handoff + HANDOFF_KASLR(%ebp)
    ret
