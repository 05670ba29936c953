// The unpacker: checks an LZ4 block, unpacks it to the pages after it, checks the result, and enters the kernel.
//
// Entry, from multiboot_entry.S: edi = the protocol, ebx = the boot information, ebp = rt0_entry, esp = a scratch stack.
// Exit: UNPACKED_ENTRY of the unpacked image, with edi and ebx as at `located`, ebp = the image, esi = the event counters (NMIs
//     and machine checks). The kernel is position-independent, and checks that it lies in RAM.
//
// The pages after the payload belong to this image, so the loader keeps them free. 32-bit code for an 80486: the kernel reports
// missing processor features.

    .section .rt0, "ax", @progbits
    .code32
located:
    movl %edi, (protocol - rt0_entry)(%ebp)
    movl %ebx, (loader_info - rt0_entry)(%ebp)

    movl $(message_no_payload - rt0_entry), %esi
    leal unpacker_off_payload(%ebp), %ebx
    cmpl $PAYLOAD_MAGIC, (%ebx)
    jne refuse
    cmpl $0, UNPACKED_BYTES(%ebx)
    je refuse

    leal HEAD_BYTES(%ebx), %edi
    movl PACKED_BYTES(%ebx), %ecx
    call checksum
    movl $(message_damaged - rt0_entry), %esi
    cmpl PACKED_CHECKSUM(%ebx), %eax
    jne refuse

    // A block is a series of sequences: a token, literals, the distance and the length of a match (LZ4 block format). The
    // checksum is right, so the lengths are those of the launcher and are not checked.
    leal HEAD_BYTES(%ebx), %esi
    leal unpacker_off_kernel(%ebp), %edi
    movl PACKED_BYTES(%ebx), %edx
    addl %esi, %edx
sequence:
    xorl %eax, %eax
    lodsb
    pushl %eax
    movl %eax, %ecx
    shrl $4, %ecx
    call length
    rep movsb
    popl %ecx
    // The last sequence ends after its literals.
    cmpl %edx, %esi
    jae unpacked
    xorl %eax, %eax
    lodsw
    andl $15, %ecx
    call length_behind_distance
    addl $4, %ecx
    pushl %esi
    movl %edi, %esi
    subl %eax, %esi
    // Copied byte by byte: a match can overlap its destination.
    rep movsb
    popl %esi
    jmp sequence

unpacked:
    leal unpacker_off_kernel(%ebp), %edx
    movl $(message_damaged_kernel - rt0_entry), %esi
    subl %edx, %edi
    cmpl UNPACKED_BYTES(%ebx), %edi
    jne refuse
    movl %edi, %ecx
    movl %edx, %edi
    call checksum
    movl $(message_damaged_kernel - rt0_entry), %esi
    cmpl UNPACKED_CHECKSUM(%ebx), %eax
    jne refuse
    leal unpacker_off_kernel(%ebp), %edx

    movl (loader_info - rt0_entry)(%ebp), %ebx
    movl (protocol - rt0_entry)(%ebp), %edi
    leal (events_32 - rt0_entry)(%ebp), %esi
    movl %edx, %ebp
    addl $UNPACKED_ENTRY, %edx
    jmp *%edx

// ecx = four bits of a token. If they are 15, the following bytes are added, up to and including the first that is not 255.
// `length_behind_distance` preserves eax, which holds the distance.
length:
    cmpl $15, %ecx
    jne 2f
1:  xorl %eax, %eax
    lodsb
    addl %eax, %ecx
    cmpb $255, %al
    je 1b
2:  ret

length_behind_distance:
    pushl %eax
    call length
    popl %eax
    ret

message_no_payload:     .asciz "the unpacker was built without a kernel"
message_damaged:        .asciz "the compressed kernel is damaged: its checksum is wrong"
message_damaged_kernel: .asciz "the kernel was not unpacked to what was packed: too little memory, or a damaged image"

    .balign 4
protocol:       .long 0
loader_info:    .long 0
