//! Where the kernel's own image lies, and which rights its parts want.

use super::direct_map;
use super::memory_map::{FRAME_BYTES, PhysRange};

unsafe extern "C" {
    // From the linker script and rt0.S.
    static image_start: u8;
    static text_end: u8;
    static rodata_end: u8;
    static image_end: u8;
    static early_idt: u8;
    static boot_stack_guard: u8;
}

/// The image, `.bss` and all.
pub fn all() -> PhysRange {
    between(&raw const image_start, &raw const image_end)
}

/// Code: to be executed, never written.
pub fn text() -> PhysRange {
    between(&raw const image_start, &raw const text_end)
}

/// Constants: neither written nor executed.
pub fn constants() -> PhysRange {
    between(&raw const text_end, &raw const rodata_end)
}

/// The interrupt descriptor tables: whole pages that rt0 fills, and that nobody writes later.
pub fn interrupt_tables() -> PhysRange {
    between(&raw const early_idt, &raw const boot_stack_guard)
}

/// The page below the boot stack, behind [`interrupt_tables`]: not mapped.
pub fn boot_stack_guard_page() -> PhysRange {
    let start = interrupt_tables().end;
    PhysRange::new(start, start + FRAME_BYTES)
}

/// Whether an address lies in the page below the boot stack.
pub fn is_boot_stack_guard(address: u64) -> bool {
    let guard = (&raw const boot_stack_guard).addr() as u64;
    (guard..guard + FRAME_BYTES).contains(&address)
}

/// Where code is seen.
pub fn text_addresses() -> core::ops::Range<u64> {
    (&raw const image_start).addr() as u64..(&raw const text_end).addr() as u64
}

/// Whether an address is one of code.
pub fn is_text(address: u64) -> bool {
    text_addresses().contains(&address)
}

fn between(start: *const u8, end: *const u8) -> PhysRange {
    PhysRange::new(direct_map::phys(start.addr() as u64), direct_map::phys(end.addr() as u64))
}
