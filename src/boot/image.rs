//! The physical ranges of the kernel's image and of its parts, by access rights.

use super::direct_map;
use super::memory_map::{FRAME_BYTES, PhysRange};

unsafe extern "C" {
    // From the linker script, rt0.S and the stubs of interrupts.
    static image_start: u8;
    static text_end: u8;
    static rodata_end: u8;
    static image_end: u8;
    static early_idt: u8;
    static boot_stack_guard: u8;
    static interrupt_entry: u8;
    static interrupt_entry_end: u8;
}

/// Returns the range of the whole image, `.bss` included.
pub(crate) fn all() -> PhysRange {
    between(&raw const image_start, &raw const image_end)
}

/// Returns the range of the code: executable, read-only.
pub(crate) fn text() -> PhysRange {
    between(&raw const image_start, &raw const text_end)
}

/// Returns the range of the constants: read-only, not executable.
pub(crate) fn constants() -> PhysRange {
    between(&raw const text_end, &raw const rodata_end)
}

/// Returns the range of the interrupt descriptor tables: whole pages that rt0 fills, read-only afterwards.
pub(crate) fn interrupt_tables() -> PhysRange {
    between(&raw const early_idt, &raw const boot_stack_guard)
}

/// Returns the guard page below the boot stack, which follows [`interrupt_tables`]: not mapped.
pub(crate) fn boot_stack_guard_page() -> PhysRange {
    let start = interrupt_tables().end;
    PhysRange::new(start, start + FRAME_BYTES)
}

/// Whether a virtual address lies in the guard page of the boot stack.
pub(crate) fn is_boot_stack_guard(address: u64) -> bool {
    let guard = (&raw const boot_stack_guard).addr() as u64;
    (guard..guard + FRAME_BYTES).contains(&address)
}

/// Returns the virtual addresses of the code.
pub(crate) fn text_addresses() -> core::ops::Range<u64> {
    (&raw const image_start).addr() as u64..(&raw const text_end).addr() as u64
}

/// Whether a virtual address lies in the code.
pub(crate) fn is_text(address: u64) -> bool {
    text_addresses().contains(&address)
}

/// Whether a virtual address lies in the entry of interrupts.
pub(crate) fn is_interrupt_entry(address: u64) -> bool {
    let start = (&raw const interrupt_entry).addr() as u64;
    (start..(&raw const interrupt_entry_end).addr() as u64).contains(&address)
}

fn between(start: *const u8, end: *const u8) -> PhysRange {
    PhysRange::new(direct_map::phys(start.addr() as u64), direct_map::phys(end.addr() as u64))
}
