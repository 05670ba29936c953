//! The Rust side of `rt0.S`: what it is told, and what it leaves behind.

use core::mem::{offset_of, size_of};

use x86_64::structures::idt::InterruptDescriptorTable;

use super::direct_map::UPPER_HALF;
use super::pvh;
use crate::wire::{EXIT_PORT, ExitCode};

/// What rt0 hands to Rust.
#[derive(Debug)]
#[repr(C)]
pub struct Handoff {
    /// The physical address of the loader's structure.
    pub start_info: u64,
    /// The TSC when rt0 had found that there is one: the zero of every time in a report.
    pub entry_tsc: u64,
    /// How much higher the image runs than it was linked.
    pub slide: u64,
    /// Where physical address 0 is seen.
    pub direct_map_base: u64,
}

core::arch::global_asm!(
    ".set IMAGE_PHYS, 0x100000",
    ".set PAGE_OFFSET, {page_offset}",
    ".set PAGE_OFFSET_HIGH, {page_offset_high}",
    ".set PAGE_OFFSET_PML4, {page_offset_pml4}",
    ".set CODE_SELECTOR, 8",
    ".set DATA_SELECTOR, 16",
    ".set HANDOFF_START_INFO, {start_info}",
    ".set HANDOFF_ENTRY_TSC, {entry_tsc}",
    ".set HANDOFF_SLIDE, {slide}",
    ".set HANDOFF_DIRECT_MAP_BASE, {direct_map_base}",
    ".set HANDOFF_BYTES, {handoff_bytes}",
    // Xen's hvm_start_info.
    ".set PVH_MAGIC, {pvh_magic}",
    ".set XEN_ELFNOTE_PHYS32_ENTRY, 18",
    ".set START_INFO_VERSION, 4",
    ".set START_INFO_MEMMAP, 40",
    ".set START_INFO_MEMMAP_ENTRIES, 48",
    ".set MEMMAP_RAM, 1",
    // SDM Vol. 3A, 2.5 and Vol. 4, table 2-2.
    ".set CR0_PE, 1 << 0",
    ".set CR0_MP, 1 << 1",
    ".set CR0_ET, 1 << 4",
    ".set CR0_NE, 1 << 5",
    ".set CR0_WP, 1 << 16",
    ".set CR0_PG, 1 << 31",
    ".set CR4_PAE, 1 << 5",
    ".set CR4_PGE, 1 << 7",
    ".set CR4_OSFXSR, 1 << 9",
    ".set CR4_OSXMMEXCPT, 1 << 10",
    ".set IA32_EFER, 0xc0000080",
    ".set IA32_GS_BASE, 0xc0000101",
    ".set EFER_LME, 1 << 8",
    ".set EFER_NXE, 1 << 11",
    ".set R_X86_64_RELATIVE, 8",
    ".set COM1, 0x3f8",
    ".set VGA_TEXT, 0xb8000",
    ".set EXIT_PORT, {exit_port}",
    ".set EXIT_REFUSED, {exit_refused}",
    include_str!("rt0.S"),
    ".code64",
    ".text",
    page_offset = const UPPER_HALF,
    page_offset_high = const UPPER_HALF >> 32,
    page_offset_pml4 = const (UPPER_HALF >> 39) & 511,
    start_info = const offset_of!(Handoff, start_info),
    entry_tsc = const offset_of!(Handoff, entry_tsc),
    slide = const offset_of!(Handoff, slide),
    direct_map_base = const offset_of!(Handoff, direct_map_base),
    handoff_bytes = const size_of::<Handoff>(),
    pvh_magic = const pvh::MAGIC,
    exit_port = const EXIT_PORT,
    exit_refused = const ExitCode::Refused as u32,
    options(att_syntax)
);

unsafe extern "C" {
    static rt0_handoff: Handoff;
    static mut early_idt: InterruptDescriptorTable;
}

/// What rt0 left behind.
#[inline]
pub fn handoff() -> &'static Handoff {
    // SAFETY: rt0 wrote it before any Rust ran, and nobody writes it again.
    unsafe { &*(&raw const rt0_handoff) }
}

/// The interrupt descriptor table that rt0 filled, the only one there is.
pub fn idt() -> *mut InterruptDescriptorTable {
    &raw mut early_idt
}
