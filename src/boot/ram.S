// Checks that the image and its .bss lie in RAM by the loader's memory map, and that the image has the checksum of its build:
// firmware with little memory can overwrite a part of it.
//
// Entry at `located`, from multiboot_entry.S: edi = the protocol, ebx = the boot information, ebp = the image. Exit to `intact`,
// with the protocol and the address of the command line stored.

    .section .rt0, "ax", @progbits
    .code32
located:
    movl $(message_misaligned - rt0_entry), %esi
    testl $0xfff, %ebp
    jnz refuse
    cmpl $IMAGE_PHYS, %ebp
    jb refuse
    leal rt0_off_image_end(%ebp), %eax
    cmpl %ebp, %eax
    jb refuse
    movl %eax, (image_end_at - rt0_entry)(%ebp)

    // edi = the base field of the first entry, ecx = the end of the table, edx = the size of an entry, or 0 if each entry has a
    // size field.
    cmpl $PROTOCOL_MULTIBOOT1, %edi
    je multiboot1_map
    cmpl $PROTOCOL_MULTIBOOT2, %edi
    je multiboot2_map
pvh_map:
    movl $PROTOCOL_PVH, (protocol - rt0_entry)(%ebp)
    movl $(message_no_map - rt0_entry), %esi
    cmpl $1, START_INFO_VERSION(%ebx)
    jb refuse
    cmpl $0, START_INFO_MEMMAP + 4(%ebx)
    jne refuse
    movl START_INFO_MEMMAP(%ebx), %edi
    imull $24, START_INFO_MEMMAP_ENTRIES(%ebx), %ecx
    addl %edi, %ecx
    movl $24, %edx
    xorl %eax, %eax
    cmpl $0, START_INFO_COMMAND_LINE + 4(%ebx)
    jne 1f
    movl START_INFO_COMMAND_LINE(%ebx), %eax
1:  movl %eax, (command_line - rt0_entry)(%ebp)
    jmp check_ram

multiboot1_map:
    movl $PROTOCOL_MULTIBOOT1, (protocol - rt0_entry)(%ebp)
    movl $(message_no_map - rt0_entry), %esi
    testl $(1 << 6), (%ebx)
    jz refuse
    movl 48(%ebx), %edi
    movl %edi, %ecx
    addl 44(%ebx), %ecx
    // The size field precedes each entry and does not count itself.
    addl $4, %edi
    xorl %edx, %edx
    xorl %eax, %eax
    testl $(1 << 2), (%ebx)
    jz 1f
    movl 16(%ebx), %eax
1:  movl %eax, (command_line - rt0_entry)(%ebp)
    jmp check_ram

multiboot2_map:
    movl $PROTOCOL_MULTIBOOT2, (protocol - rt0_entry)(%ebp)
    movl $0, (command_line - rt0_entry)(%ebp)
    xorl %edi, %edi
    leal 8(%ebx), %eax
.Ltag:
    movl (%eax), %esi
    testl %esi, %esi
    jz .Ltags_end
    cmpl $1, %esi
    jne 1f
    leal 8(%eax), %esi
    movl %esi, (command_line - rt0_entry)(%ebp)
    jmp 2f
1:  cmpl $6, %esi
    jne 2f
    leal 16(%eax), %edi
    movl 8(%eax), %edx
    movl 4(%eax), %ecx
    addl %eax, %ecx
2:  movl 4(%eax), %esi
    // A tag shorter than its head would make this loop endless.
    cmpl $8, %esi
    jb .Ltags_end
    leal 7(%eax, %esi), %eax
    andl $-8, %eax
    jmp .Ltag
.Ltags_end:
    movl $(message_no_map - rt0_entry), %esi
    testl %edi, %edi
    jz refuse

    // eax goes from the start of the image to its end. Each pass finds a RAM entry that contains eax and sets eax to its end.
check_ram:
    movl $(message_no_map - rt0_entry), %esi
    cmpl %edi, %ecx
    jbe refuse
    movl %ebp, %eax
.Lscan:
    pushl %edi
.Lentry:
    cmpl $MEMMAP_RAM, 16(%edi)
    jne .Lnext
    cmpl $0, 4(%edi)
    jne .Lnext
    movl (%edi), %esi
    cmpl %eax, %esi
    ja .Lnext
    addl 8(%edi), %esi
    pushl %esi
    movl 12(%edi), %esi
    adcl $0, %esi
    popl %esi
    jnz in_ram
    cmpl %eax, %esi
    jbe .Lnext
    movl %esi, %eax
    cmpl (image_end_at - rt0_entry)(%ebp), %eax
    jae in_ram
    popl %edi
    jmp .Lscan
.Lnext:
    addl %edx, %edi
    testl %edx, %edx
    jnz 1f
    addl -4(%edi), %edi
    addl $4, %edi
1:  cmpl %ecx, %edi
    jb .Lentry
    movl $(message_not_in_ram - rt0_entry), %esi
    jmp refuse

in_ram:
    // The checksum covers the image from the end of this section to the last initialised byte. The launcher writes it into the
    // file; it is 0 in a file from the linker.
    cmpl $0, (rt0_checksum - rt0_entry)(%ebp)
    je intact
    leal rt0_off_checksum_start(%ebp), %edi
    movl $rt0_off_checksum_end, %ecx
    subl $rt0_off_checksum_start, %ecx
    call checksum
    movl $(message_damaged - rt0_entry), %esi
    cmpl (rt0_checksum - rt0_entry)(%ebp), %eax
    jne refuse
    jmp intact

    .balign 4
    .global rt0_checksum
rt0_checksum:   .long 0
