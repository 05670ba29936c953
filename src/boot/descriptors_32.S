// GDT and IDT for 32-bit code. An NMI or a machine check before the kernel runs in long mode is counted, and the interrupted
// code is resumed.
//
// Entry, from multiboot_entry.S: edi = PROTOCOL_*, ebx, ebp and esp as at `located`, esi = event counters to be added.
// Exit to `located`: edi, ebx, ebp and esp unchanged.
//
// Before `idt_loaded` the IDT is the loader's, or there is none: the loader's handler, if any, receives an NMI. This window is
// about forty instructions without a loop. It cannot be shorter: gates need a code segment, and that needs the image's address.
// A machine check before rt0 sets CR4.MCE shuts the processor down, whatever the IDT (SDM Vol. 3A, 6.15, #MC).
//
// The IDT is valid in protected mode and in long mode. A gate has 8 bytes in protected mode and 16 in long mode. The 32-bit gates
// of NMI (vector 2) and #MC (vector 18) therefore overlap the 64-bit gates of vectors 1 and 9. rt0 writes the 64-bit gates of all
// other exceptions. So an NMI finds a gate at each instruction of the mode change; vectors 1 and 9 do not occur there.

    .set EVENT_NMI, 0
    .set EVENT_MACHINE_CHECK, 4

    .section .rt0, "ax", @progbits
    .code32
load_descriptors_32:
    leal (early_gdt - rt0_entry)(%ebp), %eax
    pushl %eax
    pushw $(early_gdt_end - early_gdt - 1)
    lgdt (%esp)
    // A far return loads this GDT's code selector. The loader's selectors are invalid in this table.
    pushl $CODE_32_SELECTOR
    leal (1f - rt0_entry)(%ebp), %eax
    pushl %eax
    lretl
1:  movl $DATA_SELECTOR, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    leal (nmi_32 - rt0_entry)(%ebp), %eax
    movw %ax, (idt_32_nmi - rt0_entry)(%ebp)
    shrl $16, %eax
    movw %ax, (idt_32_nmi - rt0_entry + 6)(%ebp)
    leal (machine_check_32 - rt0_entry)(%ebp), %eax
    movw %ax, (idt_32_machine_check - rt0_entry)(%ebp)
    shrl $16, %eax
    movw %ax, (idt_32_machine_check - rt0_entry + 6)(%ebp)
    leal (idt_32 - rt0_entry)(%ebp), %eax
    pushl %eax
    pushw $(idt_32_end - idt_32 - 1)
    lidt (%esp)
    .global idt_loaded
idt_loaded:
    leal (scratch_stack - rt0_entry)(%ebp), %esp
    movl EVENT_NMI(%esi), %eax
    addl %eax, (events_32 - rt0_entry + EVENT_NMI)(%ebp)
    movl EVENT_MACHINE_CHECK(%esi), %eax
    addl %eax, (events_32 - rt0_entry + EVENT_MACHINE_CHECK)(%ebp)
    jmp located

// The handlers use the interrupted code's stack, which this section and rt0 keep valid, and expect no register value.
nmi_32:
    pushl %eax
    call 1f
1:  popl %eax
    incl (events_32 - 1b + EVENT_NMI)(%eax)
    popl %eax
    iretl

// The handler does not read the banks, and MCIP remains set. The kernel reports them later.
machine_check_32:
    pushl %eax
    call 1f
1:  popl %eax
    incl (events_32 - 1b + EVENT_MACHINE_CHECK)(%eax)
    popl %eax
    iretl

    // Event counters: NMIs, machine checks.
    .balign 4
    .global events_32
events_32:  .long 0, 0
no_events:  .long 0, 0

    // The Accessed bits are set, so the processor does not write here. The selectors are those of all other GDTs.
    .balign 8
    .global early_gdt
early_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00cf9b000000ffff
    .global early_gdt_end
early_gdt_end:

    // 19 gates of long mode. The two of protected mode: present, ring 0, 32-bit interrupt gate (SDM Vol. 3A, 6.11).
    .balign 16
idt_32:
    .skip 2 * 8
idt_32_nmi:
    .short 0, CODE_32_SELECTOR, 0x8e00, 0
    .skip 18 * 8 - (. - idt_32)
idt_32_machine_check:
    .short 0, CODE_32_SELECTOR, 0x8e00, 0
    .skip 19 * 16 - (. - idt_32)
idt_32_end:
