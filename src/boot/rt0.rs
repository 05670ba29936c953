//! The Rust side of `rt0.S`: its constants, and its results.

use core::mem::{offset_of, size_of};

use x86_64::structures::idt::InterruptDescriptorTable;

use super::{PROTOCOL_MULTIBOOT1, PROTOCOL_MULTIBOOT2, PROTOCOL_PVH, multiboot1, multiboot2, pvh};
use crate::config::STACK_PAGES;
use crate::cpu::IstStack;
use crate::cpu::thread::layout;
use crate::cpu::{PAGE_BYTES, UPPER_HALF};
use crate::wire::{EXIT_PORT, ExitCode, SHUTDOWN, SHUTDOWN_PORT};

/// The results of rt0.
#[derive(Debug)]
#[repr(C)]
pub struct Handoff {
    /// The physical address of the boot information.
    pub loader_info: u64,
    /// The TSC at entry, read after rt0 has found that the processor has a TSC. All times of a report are relative to it.
    pub entry_tsc: u64,
    /// The difference between the run-time addresses and the link-time addresses of the image.
    pub slide: u64,
    /// The virtual address of physical address 0.
    pub direct_map_base: u64,
    /// The boot protocol: one of `PROTOCOL_*`.
    pub protocol: u32,
    /// The entropy source of the base: one of `KASLR_*`.
    pub kaslr: u32,
    /// The number of NMIs during 32-bit code.
    pub nmis: u32,
    /// The number of machine checks during 32-bit code. Their banks are not read yet.
    pub machine_checks: u32,
}

/// The command line contains `kaslr=off`.
const KASLR_OFF: u32 = 0;
const KASLR_RDSEED: u32 = 1;
const KASLR_RDRAND: u32 = 2;
const KASLR_TSC: u32 = 3;

/// The entropy source of the direct map's base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kaslr {
    /// None: the base is the lowest one.
    Off,
    /// RDSEED.
    Rdseed,
    /// RDRAND.
    Rdrand,
    /// The TSC, which can be guessed.
    Tsc,
}

impl Kaslr {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Kaslr::Off => "off",
            Kaslr::Rdseed => "rdseed",
            Kaslr::Rdrand => "rdrand",
            Kaslr::Tsc => "tsc",
        }
    }
}

impl Handoff {
    /// Returns the entropy source of the direct map's base.
    pub fn kaslr(&self) -> Kaslr {
        match self.kaslr {
            KASLR_OFF => Kaslr::Off,
            KASLR_RDSEED => Kaslr::Rdseed,
            KASLR_RDRAND => Kaslr::Rdrand,
            _ => Kaslr::Tsc,
        }
    }
}

core::arch::global_asm!(
    ".set IMAGE_PHYS, 0x100000",
    ".set R_X86_64_RELATIVE, 8",
    ".set UPPER_HALF_HIGH, {upper_half_high}",
    ".set CODE_SELECTOR, 8",
    ".set DATA_SELECTOR, 16",
    ".set CODE_32_SELECTOR, 24",
    ".set UNPACKED_ENTRY, {unpacked_entry}",
    ".set IST_DEBUG, {ist_debug}",
    ".set IST_NMI, {ist_nmi}",
    ".set IST_DOUBLE_FAULT, {ist_double_fault}",
    ".set IST_MACHINE_CHECK, {ist_machine_check}",
    ".set HANDOFF_NMIS, {nmis}",
    ".set HANDOFF_MACHINE_CHECKS, {machine_checks}",
    ".set HANDOFF_LOADER_INFO, {loader_info}",
    ".set HANDOFF_PROTOCOL, {handoff_protocol}",
    ".set HANDOFF_KASLR, {handoff_kaslr}",
    ".set PROTOCOL_PVH, {protocol_pvh}",
    ".set PROTOCOL_MULTIBOOT1, {protocol_multiboot1}",
    ".set PROTOCOL_MULTIBOOT2, {protocol_multiboot2}",
    ".set KASLR_OFF, {kaslr_off}",
    ".set KASLR_RDSEED, {kaslr_rdseed}",
    ".set KASLR_RDRAND, {kaslr_rdrand}",
    ".set KASLR_TSC, {kaslr_tsc}",
    // The number of attempts that Intel recommends for RDRAND (SDM Vol. 1, 7.3.17.1).
    ".set KASLR_TRIES, 10",
    ".set COMMAND_LINE_LIMIT, {command_line_limit}",
    // Multiboot 0.6.96, 3.1 and 3.2: memory information requested, address fields valid.
    ".set MULTIBOOT1_MAGIC, {multiboot1_magic}",
    ".set MULTIBOOT1_HEADER_FLAGS, {multiboot1_header_flags}",
    // Multiboot 2.0, 3.1.1 and 3.3.
    ".set MULTIBOOT2_MAGIC, {multiboot2_magic}",
    ".set MULTIBOOT2_HEADER_MAGIC, {multiboot2_header_magic}",
    ".set HANDOFF_ENTRY_TSC, {entry_tsc}",
    ".set HANDOFF_SLIDE, {slide}",
    ".set HANDOFF_DIRECT_MAP_BASE, {direct_map_base}",
    ".set HANDOFF_BYTES, {handoff_bytes}",
    // Xen's hvm_start_info.
    ".set PVH_MAGIC, {pvh_magic}",
    ".set START_INFO_VERSION, 4",
    ".set START_INFO_COMMAND_LINE, 24",
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
    ".set CR4_MCE, 1 << 6",
    ".set CR4_PGE, 1 << 7",
    ".set CR4_OSFXSR, 1 << 9",
    ".set CR4_OSXMMEXCPT, 1 << 10",
    ".set IA32_EFER, 0xc0000080",
    ".set IA32_FS_BASE, 0xc0000100",
    ".set IA32_GS_BASE, 0xc0000101",
    ".set BOOT_STACK_BYTES, {boot_stack_bytes}",
    ".set THREAD_THIS, {thread_this}",
    ".set THREAD_GS_BASE, {thread_gs_base}",
    ".set THREAD_STACK_BOTTOM, {thread_stack_bottom}",
    ".set THREAD_STACK_TOP, {thread_stack_top}",
    ".set THREAD_BYTES, {thread_bytes}",
    ".set EFER_LME, 1 << 8",
    ".set EFER_NXE, 1 << 11",
    ".set EXIT_PORT, {exit_port}",
    ".set EXIT_REFUSED, {exit_refused}",
    ".set SHUTDOWN_PORT, {shutdown_port}",
    ".set SHUTDOWN, {shutdown}",
    include_str!("multiboot_entry.S"),
    include_str!("descriptors_32.S"),
    include_str!("ram.S"),
    include_str!("checksum.S"),
    include_str!("rt0.S"),
    include_str!("kaslr.S"),
    ".code64",
    ".text",
    upper_half_high = const UPPER_HALF >> 32,
    unpacked_entry = const super::UNPACKED_ENTRY,
    ist_debug = const IstStack::Debug.gate_field(),
    ist_nmi = const IstStack::Nmi.gate_field(),
    ist_double_fault = const IstStack::DoubleFault.gate_field(),
    ist_machine_check = const IstStack::MachineCheck.gate_field(),
    nmis = const offset_of!(Handoff, nmis),
    machine_checks = const offset_of!(Handoff, machine_checks),
    loader_info = const offset_of!(Handoff, loader_info),
    handoff_protocol = const offset_of!(Handoff, protocol),
    handoff_kaslr = const offset_of!(Handoff, kaslr),
    protocol_pvh = const PROTOCOL_PVH,
    protocol_multiboot1 = const PROTOCOL_MULTIBOOT1,
    protocol_multiboot2 = const PROTOCOL_MULTIBOOT2,
    kaslr_off = const KASLR_OFF,
    kaslr_rdseed = const KASLR_RDSEED,
    kaslr_rdrand = const KASLR_RDRAND,
    kaslr_tsc = const KASLR_TSC,
    command_line_limit = const super::MAX_COMMAND_LINE_BYTES,
    entry_tsc = const offset_of!(Handoff, entry_tsc),
    slide = const offset_of!(Handoff, slide),
    direct_map_base = const offset_of!(Handoff, direct_map_base),
    handoff_bytes = const size_of::<Handoff>(),
    multiboot1_magic = const multiboot1::LOADER_MAGIC,
    multiboot1_header_flags = const multiboot1::HEADER_MEMORY_INFO | multiboot1::HEADER_ADDRESSES,
    multiboot2_magic = const multiboot2::LOADER_MAGIC,
    multiboot2_header_magic = const multiboot2::HEADER_MAGIC,
    thread_this = const layout::THIS,
    thread_gs_base = const layout::GS_BASE,
    thread_stack_bottom = const layout::STACK_BOTTOM,
    thread_stack_top = const layout::STACK_TOP,
    thread_bytes = const layout::BYTES,
    // The work runs on the BSP's boot stack, below the frames of the stages.
    boot_stack_bytes = const (STACK_PAGES + 6) * PAGE_BYTES,
    gs_base_variable = sym crate::cpu::per_cpu::GS_BASE,
    current_thread_variable = sym crate::cpu::thread::CURRENT_THREAD,
    pvh_magic = const pvh::MAGIC,
    exit_port = const EXIT_PORT,
    exit_refused = const ExitCode::Refused as u32,
    shutdown_port = const SHUTDOWN_PORT,
    shutdown = const u64::from_le_bytes(*SHUTDOWN),
    options(att_syntax)
);

unsafe extern "C" {
    static rt0_handoff: Handoff;
    #[link_name = "early_idt"]
    static EARLY_IDT: InterruptDescriptorTable;
    #[link_name = "final_idt"]
    static FINAL_IDT: InterruptDescriptorTable;
    #[link_name = "early_gdt"]
    static EARLY_GDT: u8;
    #[link_name = "early_gdt_end"]
    static EARLY_GDT_END: u8;
}

/// Returns the results of rt0.
///
/// **Context:** any.
#[inline]
pub(crate) fn handoff() -> &'static Handoff {
    // SAFETY: rt0 writes the static before it jumps to `rust_entry`. No Rust code writes it.
    unsafe { &rt0_handoff }
}

/// Returns the interrupt descriptor table without IST entries, for a CPU without a TSS. Read-only after rt0.
pub(crate) fn early_idt() -> *const InterruptDescriptorTable {
    &raw const EARLY_IDT
}

/// Returns the interrupt descriptor table with IST entries for #DB, NMI, #DF and #MC. Read-only after rt0.
pub(crate) fn final_idt() -> *const InterruptDescriptorTable {
    &raw const FINAL_IDT
}

/// Returns the address and the limit of rt0's GDT, for a CPU without a GDT of its own. Read-only.
pub(crate) fn early_gdt() -> (u64, u16) {
    let (start, end) = ((&raw const EARLY_GDT).addr(), (&raw const EARLY_GDT_END).addr());
    (start as u64, (end - start - 1) as u16)
}
