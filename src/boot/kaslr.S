// Where the direct map's base comes from. Called by rt0.S; spoils all but ebp and esp.

    .section .rt0, "ax", @progbits
    .code32
// A number for the direct map's base in eax, at random unless the command line says kaslr=off; the handoff says where it
// came from.
draw:
    movl $KASLR_OFF, %edi
    movl (command_line - rt0_entry)(%ebp), %esi
    testl %esi, %esi
    jz 2f
    movl $COMMAND_LINE_LIMIT, %ecx
    // A word of its own: at the start or behind a space, before a space or the end.
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
    jmp drawn
5:  // On to the next word.
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
    jc drawn
    decl %ecx
    jnz 1b
2:  movl $KASLR_RDRAND, %edi
    movl $1, %eax
    cpuid
    testl $(1 << 30), %ecx
    jz 2f
    movl $KASLR_TRIES, %ecx
1:  rdrand %eax
    jc drawn
    decl %ecx
    jnz 1b
    // The TSC's low bits are the least predictable; a multiplication by an odd constant brings them everywhere.
2:  movl $KASLR_TSC, %edi
    rdtsc
    imull $0x9e3779b1, %eax, %eax
    shrl $12, %eax
drawn:
    movl %edi, rt0_off_handoff + HANDOFF_KASLR(%ebp)
    ret
