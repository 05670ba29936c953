// The checksum of the kernel's image and of a compressed image. Position-independent 32-bit code for an 80486. It uses no
// memory except the stack.

    .section .rt0, "ax", @progbits
    .code32
// eax = Adler-32 (RFC 1950) of the ecx bytes at edi. Clobbers ecx, edx, esi, edi.
checksum:
    movl $1, %eax
    xorl %edx, %edx
    testl %ecx, %ecx
    jz 4f
1:  movzbl (%edi), %esi
    incl %edi
    addl %esi, %eax
    cmpl $65521, %eax
    jb 2f
    subl $65521, %eax
2:  addl %eax, %edx
    cmpl $65521, %edx
    jb 3f
    subl $65521, %edx
3:  decl %ecx
    jnz 1b
4:  shll $16, %edx
    orl %edx, %eax
    ret
