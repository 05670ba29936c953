// The entry point of all boot protocols, the headers for the loaders, and the exit if the boot protocol is unknown.
//
// Two programs begin with this file: the kernel, which continues at `located` in ram.S, and the unpacker of a compressed kernel,
// which continues at `located` in unpacker.S. The constants come from Rust (boot::rt0, unpacker/main.rs), and rt0_phys,
// rt0_phys_data_end and rt0_phys_image_end from the linker script.
//
// Entry: 32-bit protected mode, paging off, flat segments, interrupts off, no stack, and
//     PVH: ebx = physical address of hvm_start_info, which begins with PVH_MAGIC
//     Multiboot 1 and 2: eax = MULTIBOOT1_MAGIC or MULTIBOOT2_MAGIC, ebx = physical address of the information
// Exit to `located`: edi = PROTOCOL_*, ebx unchanged, ebp = the physical address of rt0_entry, esp = the scratch stack,
//     GDT and IDT of descriptors_32.S. From `idt_loaded` on, an NMI is counted and the interrupted code is resumed.
//
// The code uses no memory except this section. The section is in RAM, because it is being executed.

    .set COM1, 0x3f8
    .set UART_TRIES, 0x20000
    .set VGA_TEXT, 0xb8000
    .set XEN_ELFNOTE_PHYS32_ENTRY, 18

    .section .rt0, "ax", @progbits
    .code32
    .global rt0_entry
rt0_entry:
    jmp find_image
    // The entry point for the unpacker: edi, ebx and ebp as at `located`, esi = the unpacker's event counters; GDT, IDT and stack
    // are the unpacker's. ebp is known, so no stack in the loader's memory is needed to find it.
    .org rt0_entry + UNPACKED_ENTRY
    jmp from_unpacker

    // Loaders search the first KiBs of the file for these headers. QEMU's -kernel ignores the PVH note if it finds a Multiboot 1
    // header, so its magic and checksum are 0 here. For a boot by Multiboot 1, the launcher writes both into a copy of the file.
    .balign 4
    .global multiboot1_header
multiboot1_header:
    .long 0
    .long MULTIBOOT1_HEADER_FLAGS
    .long 0
    .long rt0_phys + (multiboot1_header - rt0_entry)
    .long rt0_phys
    .long rt0_phys_data_end
    .long rt0_phys_image_end
    .long rt0_phys
    .balign 8
multiboot2_header:
    .long MULTIBOOT2_HEADER_MAGIC, 0, multiboot2_header_end - multiboot2_header
    .long -(MULTIBOOT2_HEADER_MAGIC + (multiboot2_header_end - multiboot2_header))
    // Addresses: the loader need not parse the ELF file. GRUB refuses an ELF file with relocations.
    .short 2, 0
    .long 24
    .long rt0_phys + (multiboot2_header - rt0_entry)
    .long rt0_phys
    .long rt0_phys_data_end
    .long rt0_phys_image_end
    // Entry address.
    .short 3, 0
    .long 12
    .long rt0_phys
    .balign 8
    // Relocatable: page-aligned, at or above 1 MiB, as high as possible, to keep low memory free.
    .short 10, 0
    .long 24
    .long IMAGE_PHYS, 0xffffffff, 4096, 2
    // No framebuffer tag, not even an optional one. With the tag, GRUB 2.06 leaves a BIOS machine in graphics mode, even if the
    // tag requests 80 by 25 characters; `refuse` writes to the VGA text screen, which would not be visible.
    // End tag.
    .short 0, 0
    .long 8
multiboot2_header_end:

find_image:
    cli
    cld
    // PVH does not define eax, and some firmware leaves Multiboot's magic there. No Multiboot information begins with PVH's
    // magic.
    movl $PROTOCOL_PVH, %edi
    cmpl $PVH_MAGIC, (%ebx)
    je 1f
    movl $PROTOCOL_MULTIBOOT1, %edi
    cmpl $MULTIBOOT1_MAGIC, %eax
    je 1f
    movl $PROTOCOL_MULTIBOOT2, %edi
    cmpl $MULTIBOOT2_MAGIC, %eax
    jne unknown_loader
1:
    // Find the load address. A call needs a stack, and the only memory known so far is the loader's structure: use its first
    // word, and restore it.
    movl (%ebx), %edx
    leal 4(%ebx), %esp
    call 1f
1:  popl %ebp
    movl %edx, (%ebx)
    subl $(1b - rt0_entry), %ebp
    leal (no_events - rt0_entry)(%ebp), %esi
from_unpacker:
    leal (scratch_stack - rt0_entry)(%ebp), %esp
    jmp load_descriptors_32

unknown_loader:
    // No usable memory is known. The word below 0x7c00, the address of the boot sector, serves as a stack.
    movl $0x7c00, %esp
    call 1f
1:  popl %ebp
    subl $(1b - rt0_entry), %ebp
    leal (scratch_stack - rt0_entry)(%ebp), %esp
    movl $(message_unknown_loader - rt0_entry), %esi
    jmp refuse


// Writes the string at edi to COM1 and, unless ebx is 0, to the VGA text screen at ebx. Advances ebx.
put_string:
    movb (%edi), %cl
    testb %cl, %cl
    jz 4f
    movw $(COM1 + 5), %dx
    movl $UART_TRIES, %eax
    pushl %eax
2:  inb %dx, %al
    testb $0x20, %al
    jnz 3f
    decl (%esp)
    jnz 2b
3:  popl %eax
    movw $COM1, %dx
    movb %cl, %al
    outb %al, %dx
    testl %ebx, %ebx
    jz 5f
    movb $0x0f, %ah
    movw %ax, (%ebx)
    addl $2, %ebx
5:  incl %edi
    jmp put_string
4:  ret

// Prints "octopod: " and the reason at ebp+esi, sends the record `refused`, and exits.
refuse:
    // 115,200 baud, eight data bits, no parity, one stop bit, FIFO on.
    movw $(COM1 + 1), %dx
    xorl %eax, %eax
    outb %al, %dx
    movw $(COM1 + 3), %dx
    movb $0x80, %al
    outb %al, %dx
    movw $COM1, %dx
    movb $1, %al
    outb %al, %dx
    movw $(COM1 + 1), %dx
    movb $0, %al
    outb %al, %dx
    movw $(COM1 + 3), %dx
    movb $3, %al
    outb %al, %dx
    movw $(COM1 + 2), %dx
    movb $0xc7, %al
    outb %al, %dx

    movl $VGA_TEXT, %edi
    movl $(80 * 25 / 2), %ecx
    movl $0x0f200f20, %eax
    rep stosl

    movl $VGA_TEXT, %ebx
    leal (message_octopod - rt0_entry)(%ebp), %edi
    call put_string
    leal (%ebp, %esi), %edi
    call put_string
    xorl %ebx, %ebx
    leal (message_record - rt0_entry)(%ebp), %edi
    call put_string
    leal (%ebp, %esi), %edi
    call put_string
    leal (message_record_end - rt0_entry)(%ebp), %edi
    call put_string
    // Wait until the UART has sent everything: the exit device does not wait.
    movw $(COM1 + 5), %dx
    movl $UART_TRIES, %ecx
6:  inb %dx, %al
    testb $0x40, %al
    loopz 6b
    movw $EXIT_PORT, %dx
    movl $EXIT_REFUSED, %eax
    outl %eax, %dx
    // Bochs has no exit port; it has a shutdown port.
    movw $SHUTDOWN_PORT, %dx
    leal (message_shutdown - rt0_entry)(%ebp), %esi
    movl $(message_shutdown_end - message_shutdown), %ecx
    rep outsb
1:  cli
    hlt
    jmp 1b

message_octopod:        .asciz "octopod: "
// \173 and \175 are braces, which global_asm! would parse as operands.
message_record:         .asciz "\r\n@octopod \173\"refused\":\173\"reason\":\""
message_record_end:     .asciz "\"\175\175\r\n"
message_shutdown:       .quad SHUTDOWN
message_shutdown_end:
message_unknown_loader: .asciz "not started by a Multiboot or PVH loader"

    // The scratch stack: room for this code and for an NMI.
    .balign 4
    .skip 256
scratch_stack:

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long rt0_phys

