//! Collects the boot information: copies it out of memory that the kernel will use for other purposes, and makes one
//! [`BootInfo`] of it, whatever the boot protocol.

use core::fmt;

use spin::mutex::{SpinMutex, SpinMutexGuard};

use self::copies::{Copies, RsdpPlace};
use self::loader_memory::LoaderMemory;
use super::defect::Defect;
use super::memory_map::{FRAME_BYTES, MapReport, MemoryMap, PhysRange, ReservedReason};
use super::modules::{self, LoadedModule};
use super::multiboot1::Framebuffer;
use super::physical::REACH_BITS;
use super::{Handoff, PROTOCOL_MULTIBOOT1, PROTOCOL_MULTIBOOT2, image, report_defect};
use crate::cpu;

mod copies;
mod error;
mod loader_memory;
mod multiboot1;
mod multiboot2;
mod pvh;

pub(crate) use error::BootError;

/// The boot protocol by which the kernel was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootProtocol {
    /// Xen's direct boot, which QEMU's `-kernel` uses.
    Pvh,
    /// Multiboot 1.
    Multiboot1,
    /// Multiboot 2.
    Multiboot2,
}

impl BootProtocol {
    /// The name of the protocol in reports.
    pub const fn name(self) -> &'static str {
        match self {
            BootProtocol::Pvh => "pvh",
            BootProtocol::Multiboot1 => "multiboot1",
            BootProtocol::Multiboot2 => "multiboot2",
        }
    }
}

/// The boot information.
pub struct BootInfo {
    /// The boot protocol.
    pub protocol: BootProtocol,
    /// The memory map. Page 0, the kernel's image and the modules are reserved.
    pub map: &'static mut MemoryMap,
    /// Errors in the loader's memory map.
    pub map_report: MapReport,
    /// The kernel command line.
    pub command_line: &'static [u8],
    /// The RSDP, if the loader passes it.
    pub rsdp: Option<Rsdp>,
    /// The physical address of the RSDP by the parameter `acpi_rsdp`; `None` until the command line has been parsed.
    pub rsdp_by_command_line: Option<u64>,
    /// The modules, as the loader lists them; [`modules`](fn@super::modules) returns them with their contents.
    pub(crate) modules: &'static [LoadedModule],
    /// The framebuffer that the loader has set up.
    pub framebuffer: Option<Framebuffer>,
    /// The physical address of the extended BIOS data area. It comes from page 0, which the final page tables do not map.
    pub extended_bios_data: u64,
    /// The TSC at the kernel's entry.
    pub entry_tsc: u64,
}

/// The loader's information about the RSDP.
#[derive(Clone, Copy, Debug)]
pub enum Rsdp {
    /// Its physical address.
    At(u64),
    /// A copy of its bytes.
    Copy(&'static [u8]),
}

impl BootInfo {
    /// Makes the modules available to [`modules`](fn@super::modules).
    ///
    /// # Safety
    /// The final page tables are in use.
    pub(crate) unsafe fn publish_modules(&self) {
        // SAFETY: the final page tables are in use, guaranteed by the caller (see # Safety). `Copies::reserve_modules` leaves only
        // ranges in memory, which the direct map maps, and reserves them, so that the kernel writes nothing there.
        unsafe { modules::publish(self.modules) };
    }
}

/// The BIOS variable that holds the segment of the extended BIOS data area.
const EBDA_SEGMENT_AT: u64 = 0x40e;

static COPIES: SpinMutex<Copies> = SpinMutex::new(Copies::EMPTY);

/// Collects the boot information.
///
/// # Errors
/// The boot information is malformed or out of reach, or has no memory map.
///
/// # Safety
/// Called once, on rt0's page tables, before the kernel writes outside its image.
pub(crate) unsafe fn collect(handoff: &Handoff) -> Result<BootInfo, BootError> {
    let copies: &'static mut Copies = SpinMutexGuard::leak(COPIES.lock());
    // SAFETY: rt0's page tables are in use and the kernel has written nothing outside its image, guaranteed by the caller (see
    // # Safety). Nothing in this function writes outside the image, and the value is dropped at its end.
    let memory = unsafe { LoaderMemory::new() };
    let info = handoff.loader_info;
    let (protocol, parsed) = match handoff.protocol {
        PROTOCOL_MULTIBOOT1 => (BootProtocol::Multiboot1, multiboot1::read(&memory, info, copies)?),
        PROTOCOL_MULTIBOOT2 => (BootProtocol::Multiboot2, multiboot2::read(&memory, info, copies)?),
        _ => (BootProtocol::Pvh, pvh::read(&memory, info, copies)?),
    };
    let address_bits = cpu::physical_address_bits();
    report_map(&parsed.map_report, copies.map.limit(1 << address_bits.min(REACH_BITS)));
    let _ = copies.map.reserve(PhysRange::new(0, FRAME_BYTES), ReservedReason::FirstPage);
    let _ = copies.map.reserve(image::all(), ReservedReason::Kernel);
    copies.reserve_modules(address_bits);
    let segment = memory.bytes("the BIOS's variables", EBDA_SEGMENT_AT, 2)?;
    let extended_bios_data = (u64::from(segment[0]) | u64::from(segment[1]) << 8) * 16;
    Ok(BootInfo {
        protocol,
        map: &mut copies.map,
        map_report: parsed.map_report,
        command_line: copies.command_line.as_bytes(),
        rsdp: parsed.rsdp.map(|rsdp| match rsdp {
            RsdpPlace::At(address) => Rsdp::At(address),
            RsdpPlace::Copied => Rsdp::Copy(&copies.rsdp[..copies.rsdp_bytes]),
        }),
        rsdp_by_command_line: None,
        modules: &copies.modules[..copies.module_count],
        framebuffer: parsed.framebuffer,
        extended_bios_data,
        entry_tsc: handoff.entry_tsc,
    })
}

/// Reports the errors of the loader's memory map, and its memory that the kernel cannot address.
fn report_map(report: &MapReport, unreachable_bytes: u64) {
    let defect = |address, reason: fmt::Arguments<'_>| {
        report_defect(&Defect { table: "memory map", address, offset: None, reason });
    };
    if report.is_contradictory() {
        defect(None, format_args!("{report}"));
    }
    if unreachable_bytes > 0 {
        defect(None, format_args!("{unreachable_bytes} bytes of memory are above the addressable range"));
    }
}
