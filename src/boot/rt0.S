// rt0: from the loader's 32-bit hand-over to the first Rust function.
//
// Entry (PVH): 32-bit protected mode, paging off, flat segments, interrupts off, no stack.
//     ebx = physical address of hvm_start_info
// Exit: rust_entry(&Handoff) in 64-bit mode in the high half, with
//     - a 32 KiB stack, early tables that map the first 4 GiB at 0 and at PAGE_OFFSET (2 MiB pages),
//     - relocations applied, .bss cleared, 256 gates installed, GS base set to the boot processor's area,
//     - CR0.WP, CR4.PAE/PGE/OSFXSR/OSXMMEXCPT, EFER.LME/NXE set.
// A machine that lacks something gets one line on COM1 and on the VGA text screen, one record for the launcher,
// and exit code REFUSED.
//
// Everything that Rust or an exception handler relies on is set up in 32-bit code, so that the gates work from the
// first 64-bit instruction on. The code knows nothing of where it was loaded: ebp holds the physical address of
// image_start, and all else is reached by its distance from there (the rt0_off_* symbols of the linker script).
// Up to the label `features` it must run on an 80486, and up to `in_ram` without memory of its own.

    .section .rt0, "ax", @progbits
    .code32
    .global rt0_pvh
rt0_pvh:
    cli
    cld
    cmpl $PVH_MAGIC, (%ebx)
    jne unknown_loader

    // Where are we? A call needs a stack, and the only memory that is known to be RAM is the loader's structure:
    // borrow its first field, whose value is known, and put it back.
    leal 4(%ebx), %esp
    call 1f
1:  popl %ebp
    subl $(1b - rt0_pvh), %ebp
    movl $PVH_MAGIC, (%ebx)

    movl $(message_misaligned - rt0_pvh), %esi
    testl $0xfff, %ebp
    jnz refuse
    cmpl $IMAGE_PHYS, %ebp
    jb refuse

    // The image and its .bss must lie in RAM that the loader reported. eax runs from the image's start to its end
    // (esp, with no stack yet, holds the end); each pass looks for a RAM entry that covers eax and moves eax to
    // that entry's end.
    movl $(message_no_map - rt0_pvh), %esi
    cmpl $1, START_INFO_VERSION(%ebx)
    jb refuse
    cmpl $0, START_INFO_MEMMAP + 4(%ebx)
    jne refuse
    cmpl $0, START_INFO_MEMMAP_ENTRIES(%ebx)
    je refuse
    movl %ebp, %eax
    leal rt0_off_image_end(%ebp), %esp
.Lscan:
    movl START_INFO_MEMMAP(%ebx), %edi
    movl START_INFO_MEMMAP_ENTRIES(%ebx), %ecx
.Lentry:
    cmpl $MEMMAP_RAM, 16(%edi)
    jne .Lnext
    cmpl $0, 4(%edi)
    jne .Lnext
    movl (%edi), %edx
    cmpl %eax, %edx
    ja .Lnext
    movl 12(%edi), %esi
    addl 8(%edi), %edx
    adcl $0, %esi
    jnz in_ram
    cmpl %eax, %edx
    jbe .Lnext
    movl %edx, %eax
    cmpl %esp, %eax
    jae in_ram
    jmp .Lscan
.Lnext:
    addl $24, %edi
    decl %ecx
    jnz .Lentry
    movl $(message_not_in_ram - rt0_pvh), %esi
    jmp refuse

in_ram:
    leal rt0_off_boot_stack_top(%ebp), %esp
    movl %ebx, rt0_off_handoff + HANDOFF_START_INFO(%ebp)

    // CPUID is there if EFLAGS.ID can be toggled (SDM Vol. 1, 20.1.1).
    movl $(message_no_cpuid - rt0_pvh), %esi
    pushfl
    popl %eax
    movl %eax, %ecx
    xorl $(1 << 21), %eax
    pushl %eax
    popfl
    pushfl
    popl %eax
    pushl %ecx
    popfl
    xorl %ecx, %eax
    testl $(1 << 21), %eax
    jz refuse

features:
    // Name everything that is missing, not just the first.
    leal rt0_off_message(%ebp), %edi
    movl $1, %eax
    cpuid
    movl %edx, %eax
    movl $(required_leaf_1 - rt0_pvh), %esi
    call check_features
    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    movl $0, %edx
    jb 1f
    movl $0x80000001, %eax
    cpuid
1:  movl %edx, %eax
    movl $(required_leaf_80000001 - rt0_pvh), %esi
    call check_features
    movb $0, (%edi)
    leal rt0_off_message(%ebp), %eax
    cmpl %eax, %edi
    movl $rt0_off_message, %esi
    jne refuse

    rdtsc
    movl %eax, rt0_off_handoff + HANDOFF_ENTRY_TSC(%ebp)
    movl %edx, rt0_off_handoff + HANDOFF_ENTRY_TSC + 4(%ebp)

bss:
    leal rt0_off_bss_start(%ebp), %edi
    movl $rt0_off_bss_end, %ecx
    subl $rt0_off_bss_start, %ecx
    shrl $2, %ecx
    xorl %eax, %eax
    rep stosl

relocations:
    // The slide is what the image's virtual address is above the linked one.
    movl %ebp, %ebx
    subl $IMAGE_PHYS, %ebx
    movl %ebx, rt0_off_handoff + HANDOFF_SLIDE(%ebp)
    movl $0, rt0_off_handoff + HANDOFF_SLIDE + 4(%ebp)
    movl $0, rt0_off_handoff + HANDOFF_DIRECT_MAP_BASE(%ebp)
    movl $PAGE_OFFSET_HIGH, rt0_off_handoff + HANDOFF_DIRECT_MAP_BASE + 4(%ebp)
    leal rt0_off_rela_start(%ebp), %edx
.Lrela:
    leal rt0_off_rela_end(%ebp), %eax
    cmpl %eax, %edx
    jae .Lrela_done
    movl $(message_relocation - rt0_pvh), %esi
    cmpl $R_X86_64_RELATIVE, 8(%edx)
    jne refuse
    movl (%edx), %edi
    subl $IMAGE_PHYS, %edi
    movl 16(%edx), %eax
    movl 20(%edx), %ecx
    addl %ebx, %eax
    adcl $0, %ecx
    movl %eax, (%ebp, %edi)
    movl %ecx, 4(%ebp, %edi)
    addl $24, %edx
    jmp .Lrela
.Lrela_done:

gates:
    // 256 interrupt gates (SDM Vol. 3A, 6.14.1), each to its own stub in the high half.
    leal rt0_off_idt(%ebp), %edi
    leal rt0_off_stubs(%ebp), %edx
    movl $256, %ecx
.Lgate:
    movzwl %dx, %eax
    orl $(CODE_SELECTOR << 16), %eax
    movl %eax, (%edi)
    movl %edx, %eax
    movw $0x8e00, %ax
    movl %eax, 4(%edi)
    movl $PAGE_OFFSET_HIGH, 8(%edi)
    movl $0, 12(%edi)
    addl $16, %edi
    addl $16, %edx
    decl %ecx
    jnz .Lgate

per_cpu:
    leal rt0_off_percpu(%ebp), %esi
    leal rt0_off_bsp_area(%ebp), %edi
    movl $rt0_percpu_bytes, %ecx
    shrl $2, %ecx
    rep movsl
    movl $IA32_GS_BASE, %ecx
    movl $rt0_bsp_gs_base, %eax
    xorl %edx, %edx
    wrmsr

early_page_tables:
    // One PML4, one PDPT, four page directories: the first 4 GiB, at 0 and again at PAGE_OFFSET.
    leal rt0_off_early_tables(%ebp), %edi
    movl $(6 * 4096 / 4), %ecx
    xorl %eax, %eax
    rep stosl
    leal rt0_off_early_tables(%ebp), %edi
    leal 4096 + 3(%edi), %eax
    movl %eax, (%edi)
    movl %eax, (PAGE_OFFSET_PML4 * 8)(%edi)
    leal 2 * 4096 + 3(%edi), %eax
    movl %eax, 4096(%edi)
    addl $4096, %eax
    movl %eax, 4096 + 8(%edi)
    addl $4096, %eax
    movl %eax, 4096 + 16(%edi)
    addl $4096, %eax
    movl %eax, 4096 + 24(%edi)
    leal 2 * 4096(%edi), %edx
    movl $0x83, %eax
    movl $2048, %ecx
1:  movl %eax, (%edx)
    addl $0x200000, %eax
    addl $8, %edx
    decl %ecx
    jnz 1b

long_mode:
    movl $1, %eax
    cpuid
    movl $(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT), %eax
    testl $(1 << 13), %edx
    jz 1f
    orl $CR4_PGE, %eax
1:  movl %eax, %cr4
    leal rt0_off_early_tables(%ebp), %eax
    movl %eax, %cr3
    movl $IA32_EFER, %ecx
    rdmsr
    orl $(EFER_LME | EFER_NXE), %eax
    wrmsr

    // Both descriptor-table registers take their 32-bit bases from the stack; Rust reloads them with high ones.
    leal rt0_off_idt(%ebp), %eax
    pushl %eax
    pushw $(256 * 16 - 1)
    lidt (%esp)
    leal (early_gdt - rt0_pvh)(%ebp), %eax
    pushl %eax
    pushw $(early_gdt_end - early_gdt - 1)
    lgdt (%esp)

    movl $(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG), %eax
    movl %eax, %cr0
    pushl $CODE_SELECTOR
    leal (rt0_64 - rt0_pvh)(%ebp), %eax
    pushl %eax
    lretl

    .code64
rt0_64:
    movabsq $PAGE_OFFSET, %rax
    leaq 1f(%rip), %rcx
    addq %rax, %rcx
    jmp *%rcx
1:  leaq boot_stack_top(%rip), %rsp
    movl $DATA_SELECTOR, %eax
    movl %eax, %ss
    movl %eax, %ds
    movl %eax, %es
    leaq rt0_handoff(%rip), %rdi
    // The end of every chain of frame pointers.
    xorl %ebp, %ebp
    pushq %rbp
    jmp rust_entry

    .code32
// eax = feature bits, ebp+esi = rows of (mask, name); appends the names of missing features at edi.
check_features:
    addl %ebp, %esi
.Lrow:
    movl (%esi), %ecx
    testl %ecx, %ecx
    jz .Lchecked
    testl %ecx, %eax
    jnz .Lskip
    leal rt0_off_message(%ebp), %ecx
    movl $(message_lacks - rt0_pvh), %edx
    cmpl %ecx, %edi
    je 1f
    movl $(message_comma - rt0_pvh), %edx
1:  call append
    leal 4(%esi), %edx
    subl %ebp, %edx
    call append
.Lskip:
    addl $16, %esi
    jmp .Lrow
.Lchecked:
    ret

// Appends the string at ebp+edx to edi.
append:
    addl %ebp, %edx
1:  movb (%edx), %cl
    testb %cl, %cl
    jz 2f
    movb %cl, (%edi)
    incl %edx
    incl %edi
    jmp 1b
2:  ret

unknown_loader:
    // Nothing is known here, so nothing can be lost by a word below the old boot sector's place.
    movl $0x7c00, %esp
    call 1f
1:  popl %ebp
    subl $(1b - rt0_pvh), %ebp
    movl $(message_unknown_loader - rt0_pvh), %esi

// Says "octopod: " and the reason at ebp+esi, and ends the run. Needs no memory: where the image does not lie in
// RAM there is none. ebx walks the VGA screen, edi the string; each wait for the UART is bounded.
    .macro put_string
1:  movb (%edi), %al
    testb %al, %al
    jz 4f
    movb %al, %cl
    movw $(COM1 + 5), %dx
    movl $0x20000, %esp
2:  inb %dx, %al
    testb $0x20, %al
    jnz 3f
    decl %esp
    jnz 2b
3:  movw $COM1, %dx
    movb %cl, %al
    outb %al, %dx
    testl %ebx, %ebx
    jz 5f
    movb $0x0f, %ah
    movw %ax, (%ebx)
    addl $2, %ebx
5:  incl %edi
    jmp 1b
4:
    .endm

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
    leal (message_octopod - rt0_pvh)(%ebp), %edi
    put_string
    leal (%ebp, %esi), %edi
    put_string
    xorl %ebx, %ebx
    leal (message_record - rt0_pvh)(%ebp), %edi
    put_string
    leal (%ebp, %esi), %edi
    put_string
    leal (message_record_end - rt0_pvh)(%ebp), %edi
    put_string
    movw $EXIT_PORT, %dx
    movl $EXIT_REFUSED, %eax
    outl %eax, %dx
1:  cli
    hlt
    jmp 1b

message_octopod:        .asciz "octopod: "
// \173 and \175 are braces, which global_asm! would take for operands.
message_record:         .asciz "\r\n@octopod \173\"refused\":\173\"reason\":\""
message_record_end:     .asciz "\"\175\175\r\n"
message_unknown_loader: .asciz "not started by a PVH loader"
message_misaligned:     .asciz "loaded below 1 MiB or not on a page boundary"
message_no_map:         .asciz "the loader passed no memory map"
message_not_in_ram:     .asciz "too little memory: the kernel does not lie in RAM that the loader reported"
message_no_cpuid:       .asciz "this processor lacks CPUID"
message_relocation:     .asciz "the image holds a relocation that is not R_X86_64_RELATIVE"
message_lacks:          .asciz "this processor lacks "
message_comma:          .asciz ", "

    // Bits of EDX: a mask, then the name in twelve bytes.
    .macro required bit, name
9:  .long 1 << \bit
    .ascii "\name"
    .fill 16 - (. - 9b), 1, 0
    .endm
    .balign 4
required_leaf_1: // SDM Vol. 2A, CPUID, table 3-11
    required 4, "TSC"
    required 5, "MSR"
    required 6, "PAE"
    required 9, "APIC"
    required 24, "FXSR"
    required 25, "SSE"
    required 26, "SSE2"
    .long 0
required_leaf_80000001: // APM Vol. 3, appendix E.4.2
    required 20, "NX"
    required 29, "long mode"
    .long 0

    // The Accessed bits are set, so the processor never writes here.
    .balign 8
early_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
early_gdt_end:

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long rt0_phys

    .section .early, "aw", @nobits
    .balign 4096
    .global early_tables
early_tables:
    .skip 6 * 4096
    .global early_idt
early_idt:
    .skip 256 * 16
    .global boot_stack_guard
boot_stack_guard:
    .skip 4096
boot_stack:
    .skip 32 * 1024
    .global boot_stack_top
boot_stack_top:
    .global rt0_handoff
rt0_handoff:
    .skip HANDOFF_BYTES
    .global rt0_message
rt0_message:
    .skip 256
