// rt0: from 32-bit protected mode to the first Rust function.
//
// Entry, from multiboot_entry.S through ram.S: ebx = the boot information, ebp = the image, which lies in RAM and is intact.
// Exit: rust_entry(&Handoff) in 64-bit mode in the high half, with
//     - the boot stack, early tables that map the first 4 GiB at 0 and at the direct map's base (2 MiB pages),
//     - relocations applied, .bss cleared, 256 gates installed, GS base set to the BSP's area, FS base to its
//       first thread,
//     - CR0.WP, CR4.PAE/MCE/PGE/OSFXSR/OSXMMEXCPT, EFER.LME/NXE set,
//     - two IDTs, one without and one with interrupt stacks; the first is loaded,
//     - the numbers of NMIs and machine checks so far in the handoff.
// If the processor lacks a feature, rt0 prints one line on COM1 and on the VGA text screen, sends one record to the launcher,
// and exits with code REFUSED.
//
// 32-bit code sets up everything that Rust and the exception handlers need. So the gates work from the first 64-bit instruction
// on, an NMI is harmless at each instruction (descriptors_32.S), and a machine check is reported.
// The code is position-independent: ebp holds the physical address of image_start, and all other addresses are relative to it
// (the rt0_off_* symbols of the linker script).
// Code before the label `features` runs on an 80486. Code before `intact` uses no memory except its own section.

    .section .rt0, "ax", @progbits
    .code32
intact:
    leal rt0_off_boot_stack_top(%ebp), %esp
    movl %ebx, rt0_off_handoff + HANDOFF_LOADER_INFO(%ebp)
    movl $0, rt0_off_handoff + HANDOFF_LOADER_INFO + 4(%ebp)
    movl (protocol - rt0_entry)(%ebp), %eax
    movl %eax, rt0_off_handoff + HANDOFF_PROTOCOL(%ebp)

    // CPUID exists if EFLAGS.ID can be toggled (SDM Vol. 1, 20.1.1).
    movl $(message_no_cpuid - rt0_entry), %esi
    pushfl
    popl %eax
    movl %eax, %ecx
    xorl $(1 << 21), %eax
    pushl %eax
    popfl
cpuid_toggled: // a test stops here and clears the toggled bit, as a processor without CPUID does
    pushfl
    popl %eax
    pushl %ecx
    popfl
    xorl %ecx, %eax
    testl $(1 << 21), %eax
    jz refuse

features:
    // List all missing features, not only the first.
    leal rt0_off_message(%ebp), %edi
    movl $1, %eax
    cpuid
    movl %edx, %eax
    movl $(required_leaf_1 - rt0_entry), %esi
    call check_features
    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    movl $0, %edx
    jb 1f
    movl $0x80000001, %eax
    cpuid
1:  movl %edx, %eax
    movl $(required_leaf_80000001 - rt0_entry), %esi
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

direct_map_base:
    // The base is UPPER_HALF + 512 GiB * (bits 0-5) + 1 GiB * (bits 6-13): one of 64 root entries, one of 256 GiB in it. The
    // first four GiB use one table.
    call kaslr_random
    movl %eax, %ecx
    andl $63, %ecx
    movl %ecx, (root_entry - rt0_entry)(%ebp)
    shll $7, %ecx
    shrl $6, %eax
    andl $255, %eax
    movl %eax, (gib_entry - rt0_entry)(%ebp)
    movl %eax, %edx
    shrl $2, %edx
    addl %edx, %ecx
    addl $UPPER_HALF_HIGH, %ecx
    shll $30, %eax
    movl %eax, rt0_off_handoff + HANDOFF_DIRECT_MAP_BASE(%ebp)
    movl %ecx, rt0_off_handoff + HANDOFF_DIRECT_MAP_BASE + 4(%ebp)

relocations:
    // The slide is the run-time address of the image minus its link-time address, UPPER_HALF + IMAGE_PHYS.
    subl $UPPER_HALF_HIGH, %ecx
    addl %ebp, %eax
    adcl $0, %ecx
    subl $IMAGE_PHYS, %eax
    sbbl $0, %ecx
    movl %eax, rt0_off_handoff + HANDOFF_SLIDE(%ebp)
    movl %ecx, rt0_off_handoff + HANDOFF_SLIDE + 4(%ebp)
    // Packed relocations (ELF gABI, SHT_RELR): an even entry is the address of a word to relocate, an odd entry is a bitmap of the
    // 63 words that follow. The slide is added to each of these words.
    leal rt0_off_relr_start(%ebp), %esi
    leal rt0_off_relr_end(%ebp), %ebx
.Lrelr:
    cmpl %ebx, %esi
    jae .Lrelr_done
    movl (%esi), %eax
    movl 4(%esi), %edx
    addl $8, %esi
    testl $1, %eax
    jnz .Lrelr_bitmap
    leal -IMAGE_PHYS(%ebp, %eax), %edi
    call relocate
    jmp .Lrelr
.Lrelr_bitmap:
    movl $63, %ecx
1:  shrdl $1, %edx, %eax
    shrl $1, %edx
    testl $1, %eax
    jz 2f
    call relocate
    jmp 3f
2:  addl $8, %edi
3:  decl %ecx
    jnz 1b
    jmp .Lrelr
.Lrelr_done:
    // The same without packing (ELF gABI, SHT_RELA), where the user's link does not ask for it. Each entry has the address of a
    // word, a type and an addend; the word becomes the addend plus the slide. A static PIE has no other type (psABI,
    // R_X86_64_RELATIVE).
    leal rt0_off_rela_start(%ebp), %esi
    leal rt0_off_rela_end(%ebp), %ebx
.Lrela:
    cmpl %ebx, %esi
    jae .Lrela_done
    cmpl $R_X86_64_RELATIVE, 8(%esi)
    movl $(message_relocation - rt0_entry), %eax
    jne .Lrefuse_relocation
    movl (%esi), %eax
    leal -IMAGE_PHYS(%ebp, %eax), %edi
    movl 16(%esi), %eax
    movl %eax, (%edi)
    movl 20(%esi), %eax
    movl %eax, 4(%edi)
    call relocate
    addl $24, %esi
    jmp .Lrela
.Lrefuse_relocation:
    movl %eax, %esi
    jmp refuse
.Lrela_done:

gates:
    // 256 interrupt gates (SDM Vol. 3A, 6.14.1), each with its own stub in the high half. ebx:edx = the stub's address.
    leal rt0_off_idt(%ebp), %edi
    leal rt0_off_stubs(%ebp), %edx
    movl rt0_off_handoff + HANDOFF_DIRECT_MAP_BASE + 4(%ebp), %ebx
    addl rt0_off_handoff + HANDOFF_DIRECT_MAP_BASE(%ebp), %edx
    adcl $0, %ebx
    movl $256, %ecx
.Lgate:
    movzwl %dx, %eax
    orl $(CODE_SELECTOR << 16), %eax
    movl %eax, (%edi)
    movl %edx, %eax
    movw $0x8e00, %ax
    movl %eax, 4(%edi)
    movl %ebx, 8(%edi)
    movl $0, 12(%edi)
    addl $16, %edi
    addl $rt0_stub_bytes, %edx
    adcl $0, %ebx
    decl %ecx
    jnz .Lgate

    // The final IDT has the same gates, but four vectors use IST stacks (SDM Vol. 3A, 6.14.5). A CPU uses the first IDT until it
    // has a TSS.
    leal rt0_off_idt(%ebp), %esi
    leal rt0_off_final_idt(%ebp), %edi
    movl $(256 * 16 / 4), %ecx
    rep movsl
    movb $IST_DEBUG, rt0_off_final_idt + 1 * 16 + 4(%ebp)
    movb $IST_NMI, rt0_off_final_idt + 2 * 16 + 4(%ebp)
    movb $IST_DOUBLE_FAULT, rt0_off_final_idt + 8 * 16 + 4(%ebp)
    movb $IST_MACHINE_CHECK, rt0_off_final_idt + 18 * 16 + 4(%ebp)

    // Copy the exceptions' 64-bit gates to the IDT in use, except where they overlap its two 32-bit gates: vectors 2 to 8 and
    // 10 to 18.
    leal rt0_off_idt + 2 * 16(%ebp), %esi
    leal (idt_32 - rt0_entry + 2 * 16)(%ebp), %edi
    movl $(7 * 16 / 4), %ecx
    rep movsl
    addl $16, %esi
    addl $16, %edi
    movl $(9 * 16 / 4), %ecx
    rep movsl

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

first_thread:
    // The BSP's first thread, linked with the per-CPU area by addresses in the high half: FS base points to the thread, which
    // holds the GS base; the per-CPU area holds both. This is 32-bit code, because Rust handles a machine check from the first
    // instruction in long mode on and needs the current CPU.
    leal rt0_off_boot_thread(%ebp), %edi
    leal rt0_off_boot_stack(%ebp), %esi
    leal THREAD_STACK_BOTTOM(%edi), %ebx
    call store_high_address
    leal rt0_off_boot_stack_top(%ebp), %esi
    leal THREAD_STACK_TOP(%edi), %ebx
    call store_high_address
    movl $rt0_bsp_gs_base, THREAD_GS_BASE(%edi)
    movl $0, THREAD_GS_BASE + 4(%edi)
    leal (gs_base_distance - rt0_entry)(%ebp), %ebx
    addl (%ebx), %ebx
    movl $rt0_bsp_gs_base, rt0_bsp_gs_base(%ebx)
    movl $0, rt0_bsp_gs_base + 4(%ebx)
    leal (current_thread_distance - rt0_entry)(%ebp), %ebx
    addl (%ebx), %ebx
    addl $rt0_bsp_gs_base, %ebx
    movl %edi, %esi
    call store_high_address
    leal THREAD_THIS(%edi), %ebx
    call store_high_address
    movl $IA32_FS_BASE, %ecx
    wrmsr

early_page_tables:
    // The root, one table of level 3 for the identity map and one for the direct map, and four tables of 2 MiB pages that both
    // share.
    leal rt0_off_early_tables(%ebp), %edi
    movl $(7 * 4096 / 4), %ecx
    xorl %eax, %eax
    rep stosl
    leal rt0_off_early_tables(%ebp), %edi
    leal 4096 + 3(%edi), %eax
    movl %eax, (%edi)
    addl $4096, %eax
    movl (root_entry - rt0_entry)(%ebp), %ecx
    movl %eax, (256 * 8)(%edi, %ecx, 8)
    movl (gib_entry - rt0_entry)(%ebp), %edx
    leal 2 * 4096(%edi, %edx, 8), %edx
    leal 3 * 4096 + 3(%edi), %eax
    xorl %ecx, %ecx
1:  movl %eax, 4096(%edi, %ecx, 8)
    movl %eax, (%edx, %ecx, 8)
    addl $4096, %eax
    incl %ecx
    cmpl $4, %ecx
    jb 1b
    leal 3 * 4096(%edi), %edx
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
1:  testl $(1 << 7), %edx
    jz 1f
    orl $CR4_MCE, %eax
1:  movl %eax, %cr4
    leal rt0_off_early_tables(%ebp), %eax
    movl %eax, %cr3
    movl $IA32_EFER, %ecx
    rdmsr
    orl $(EFER_LME | EFER_NXE), %eax
    wrmsr

    movl $(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG), %eax
    movl %eax, %cr0
    pushl $CODE_SELECTOR
    leal (rt0_64 - rt0_entry)(%ebp), %eax
    pushl %eax
    lretl

    .code64
rt0_64:
    movq rt0_handoff + HANDOFF_DIRECT_MAP_BASE(%rip), %rax
    leaq 1f(%rip), %rcx
    addq %rax, %rcx
    jmp *%rcx
1:
rt0_64_high:
    leaq boot_stack_top(%rip), %rsp

    // Load GDT and IDT by their addresses in the high half, which remains mapped.
    leaq early_gdt(%rip), %rax
    pushq %rax
    pushw $(early_gdt_end - early_gdt - 1)
    lgdt (%rsp)
    leaq early_idt(%rip), %rax
    movq %rax, 2(%rsp)
    movw $(256 * 16 - 1), (%rsp)
    lidt (%rsp)
    leaq boot_stack_top(%rip), %rsp
    // The 32-bit handlers are not in use any more, so the counters are final.
    movl events_32 + EVENT_NMI(%rip), %eax
    movl %eax, rt0_handoff + HANDOFF_NMIS(%rip)
    movl events_32 + EVENT_MACHINE_CHECK(%rip), %eax
    movl %eax, rt0_handoff + HANDOFF_MACHINE_CHECKS(%rip)

    movl $DATA_SELECTOR, %eax
    movl %eax, %ss
    movl %eax, %ds
    movl %eax, %es
    leaq rt0_handoff(%rip), %rdi
    // The end of the chain of frame pointers.
    xorl %ebp, %ebp
    pushq %rbp
    jmp rust_entry

    .code32
// eax = feature bits, ebp+esi = rows of (mask, name). Appends the names of missing features at edi.
check_features:
    addl %ebp, %esi
.Lrow:
    movl (%esi), %ecx
    testl %ecx, %ecx
    jz .Lchecked
    testl %ecx, %eax
    jnz .Lskip
    leal rt0_off_message(%ebp), %ecx
    movl $(message_lacks - rt0_entry), %edx
    cmpl %ecx, %edi
    je 1f
    movl $(message_comma - rt0_entry), %edx
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

    // Stores the direct map's address of physical address esi at ebx, and returns it in edx:eax. Preserves all other registers.
store_high_address:
    movl rt0_off_handoff + HANDOFF_DIRECT_MAP_BASE(%ebp), %eax
    movl rt0_off_handoff + HANDOFF_DIRECT_MAP_BASE + 4(%ebp), %edx
    addl %esi, %eax
    adcl $0, %edx
    movl %eax, (%ebx)
    movl %edx, 4(%ebx)
    ret

    // Adds the slide to the word at edi and advances edi. Preserves all other registers.
relocate:
    pushl %eax
    movl rt0_off_handoff + HANDOFF_SLIDE(%ebp), %eax
    addl %eax, (%edi)
    movl rt0_off_handoff + HANDOFF_SLIDE + 4(%ebp), %eax
    adcl %eax, 4(%edi)
    addl $8, %edi
    popl %eax
    ret

message_misaligned:     .asciz "loaded below 1 MiB, not on a page boundary, or across 4 GiB"
message_no_map:         .asciz "the loader passed no memory map"
message_not_in_ram:     .asciz "too little memory: the kernel does not lie in RAM that the loader reported"
message_damaged:        .asciz "the kernel was damaged after it was loaded: too little memory, or a faulty one"
message_relocation:     .asciz "the kernel has a relocation of a type other than R_X86_64_RELATIVE"
message_no_cpuid:       .asciz "this processor lacks CPUID"
message_lacks:          .asciz "this processor lacks "
message_comma:          .asciz ", "
message_kaslr_off:      .asciz "kaslr=off"

    // Variables of rt0.
    .balign 4
protocol:       .long 0
command_line:   .long 0
image_end_at:   .long 0
root_entry:     .long 0
gib_entry:      .long 0

    // Distances from these words to per-CPU variables in the image.
gs_base_distance:           .long {gs_base_variable} - .
current_thread_distance:    .long {current_thread_variable} - .

    // Bits of EDX: a mask, then the name in twelve bytes.
    .macro required bit, name
9:  .long 1 << \bit
    .ascii "\name"
    .fill 16 - (. - 9b), 1, 0
    .endm
    .balign 4
    // ci/tests/image.rs compares these with the instructions of the image.
required_leaf_1: // SDM Vol. 2A, CPUID, table 3-11
    required 0, "FPU"
    required 4, "TSC"
    required 5, "MSR"
    required 6, "PAE"
    required 8, "CX8"
    required 9, "APIC"
    required 15, "CMOV"
    required 24, "FXSR"
    required 25, "SSE"
    required 26, "SSE2"
    .long 0
required_leaf_80000001: // APM Vol. 3, appendix E.4.2
    required 20, "NX"
    required 29, "long mode"
    .long 0

    .section .early, "aw", @nobits
    .balign 4096
    .global early_tables
early_tables:
    .skip 7 * 4096
    .global early_idt
early_idt:
    .skip 256 * 16
    .global final_idt
final_idt:
    .skip 256 * 16
    .global boot_stack_guard
boot_stack_guard:
    .skip 4096
    .global boot_stack
boot_stack:
    .skip BOOT_STACK_BYTES
    .global boot_stack_top
boot_stack_top:
    .global boot_thread
    .balign 16
boot_thread:
    .skip THREAD_BYTES
    .global rt0_handoff
rt0_handoff:
    .skip HANDOFF_BYTES
    .global rt0_message
rt0_message:
    .skip 256
