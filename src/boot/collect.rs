//! Copies what the loader passed out of memory that will soon be used for other things, and makes one [`BootInfo`] of
//! it, whichever door the kernel was entered by.

use core::fmt;

use spin::mutex::{SpinMutex, SpinMutexGuard};

use super::defect::Defect;
use super::direct_map::{self, EARLY_LIMIT};
use super::io_regions::IoRegions;
use super::memory_map::{FRAME_BYTES, MapReport, MemoryMap, PhysRange, ReservedReason};
use super::multiboot1::{self, Framebuffer, Multiboot1Error};
use super::multiboot2::{self, Multiboot2Error};
use super::physical::{PhysicalLayout, Purpose, REACH_BITS};
use super::pvh::{self, PvhError, StartInfo, Table};
use super::{
    Handoff, MAX_COMMAND_LINE_BYTES, PROTOCOL_MULTIBOOT1, PROTOCOL_MULTIBOOT2, image, report_defect,
};
use crate::console::LineBuffer;
use crate::cpu;

/// How the kernel was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootProtocol {
    /// Xen's direct boot, which QEMU's `-kernel` speaks.
    Pvh,
    /// The first Multiboot.
    Multiboot1,
    /// The second.
    Multiboot2,
}

impl BootProtocol {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            BootProtocol::Pvh => "pvh",
            BootProtocol::Multiboot1 => "multiboot1",
            BootProtocol::Multiboot2 => "multiboot2",
        }
    }
}

/// All that the kernel knows from its loader.
pub struct BootInfo {
    /// How it was loaded.
    pub protocol: BootProtocol,
    /// The machine's memory, with page 0, the kernel's image and the modules reserved already.
    pub map: &'static mut MemoryMap,
    /// What was wrong with the loader's memory map.
    pub map_report: MapReport,
    /// The kernel command line.
    pub command_line: &'static [u8],
    /// The RSDP, if the loader says so.
    pub rsdp: Option<Rsdp>,
    /// Where the command line says that the RSDP lies, physical; `None` until it has been read.
    pub rsdp_by_command_line: Option<u64>,
    /// What was loaded beside the kernel. A module that cannot be where the loader says is an empty range.
    pub modules: &'static [PhysRange],
    /// The screen that the loader has set up.
    pub framebuffer: Option<Framebuffer>,
    /// Where a BIOS says that its extended data area begins: a word in page 0, which is not mapped for long.
    pub extended_bios_data: u64,
    /// The TSC when the kernel began.
    pub entry_tsc: u64,
}

/// What a loader says of the RSDP.
#[derive(Clone, Copy, Debug)]
pub enum Rsdp {
    /// Where it lies, physical.
    At(u64),
    /// What is in it.
    Copy(&'static [u8]),
}

impl BootInfo {
    /// What was loaded beside the kernel, by its place in the loader's list; `None` for one that cannot be where the list
    /// has it. On the final page tables.
    pub fn module(&self, index: usize) -> Option<&'static [u8]> {
        let range = self.modules.get(index).filter(|range| !range.is_empty())?;
        // SAFETY: `Copies::check_modules` has left only ranges that lie in memory, which the direct map shows, and has
        // reserved them, so the kernel writes nothing there.
        Some(unsafe { core::slice::from_raw_parts(direct_map::pointer(range.start), range.len() as usize) })
    }
}

/// The BIOS's variable that holds the segment of its extended data area.
const EBDA_SEGMENT_AT: u64 = 0x40e;

/// Why the loader's information cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootError {
    /// PVH's structure is broken.
    Pvh(PvhError),
    /// Multiboot's is.
    Multiboot1(Multiboot1Error),
    /// Multiboot 2's is.
    Multiboot2(Multiboot2Error),
    /// Something lies beyond what the early page tables map.
    OutOfReach {
        /// What.
        what: &'static str,
        /// Where, physical.
        address: u64,
    },
    /// There is no memory map.
    NoMemoryMap,
    /// Something is longer than on any machine.
    TooLong {
        /// What.
        what: &'static str,
        /// Its length.
        length: u64,
        /// The most that is allowed.
        limit: u64,
    },
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BootError::Pvh(error) => error.fmt(f),
            BootError::Multiboot1(error) => error.fmt(f),
            BootError::Multiboot2(error) => error.fmt(f),
            BootError::OutOfReach { what, address } => {
                write!(f, "the loader put {what} at {address:#x}, beyond 4 GiB")
            }
            BootError::NoMemoryMap => f.write_str("the loader passed no memory map"),
            BootError::TooLong { what, length, limit } => {
                write!(f, "{what} takes {length} bytes, more than {limit}")
            }
        }
    }
}

/// The most that a table of the loader's may take, and the whole of Multiboot 2's information: 40,000 entries.
const MAX_TABLE_BYTES: u64 = 1 << 20;
const MAX_MODULES: usize = 32;
/// An RSDP of revision 2 and above has 36 bytes; later ones may grow.
const MAX_RSDP_BYTES: usize = 64;
/// The structure of Multiboot 1 up to its last field.
const MULTIBOOT1_BYTES: u64 = multiboot1::INFO_BYTES as u64;

/// The reserved block: what is kept of the loader's words.
struct Copies {
    map: MemoryMap,
    command_line: LineBuffer<MAX_COMMAND_LINE_BYTES>,
    modules: [PhysRange; MAX_MODULES],
    module_count: usize,
    rsdp: [u8; MAX_RSDP_BYTES],
    rsdp_bytes: usize,
}

static COPIES: SpinMutex<Copies> = SpinMutex::new(Copies {
    map: MemoryMap::empty(),
    command_line: LineBuffer::new(),
    modules: [PhysRange::new(0, 0); MAX_MODULES],
    module_count: 0,
    rsdp: [0; MAX_RSDP_BYTES],
    rsdp_bytes: 0,
});

/// What a door leaves for the rest of this file to do.
#[derive(Default)]
struct Found {
    map_report: MapReport,
    rsdp: Option<FoundRsdp>,
    framebuffer: Option<Framebuffer>,
}

/// What a door says of the RSDP: its address, or that [`Copies::rsdp`] has it.
enum FoundRsdp {
    At(u64),
    Copied,
}

/// Copies the loader's information.
///
/// # Safety
/// Called once, on rt0's page tables, before anything else is written to memory outside the image.
pub unsafe fn collect(handoff: &Handoff) -> Result<BootInfo, BootError> {
    let copies: &'static mut Copies = SpinMutexGuard::leak(COPIES.lock());
    // SAFETY: all three need that this runs once, on rt0's page tables, before anything outside the image is written, which the
    // caller guarantees (see # Safety).
    let (protocol, found) = unsafe {
        match handoff.protocol {
            PROTOCOL_MULTIBOOT1 => (BootProtocol::Multiboot1, multiboot1(handoff.loader_info, copies)?),
            PROTOCOL_MULTIBOOT2 => (BootProtocol::Multiboot2, multiboot2(handoff.loader_info, copies)?),
            _ => (BootProtocol::Pvh, pvh(handoff.loader_info, copies)?),
        }
    };
    let address_bits = cpu::physical_address_bits();
    report_map(&found.map_report, copies.map.limit(1 << address_bits.min(REACH_BITS)));
    let _ = copies.map.reserve(PhysRange::new(0, FRAME_BYTES), ReservedReason::FirstPage);
    let _ = copies.map.reserve(image::all(), ReservedReason::Kernel);
    copies.check_modules(address_bits);
    let modules = &copies.modules[..copies.module_count];
    // SAFETY: rt0's page tables are in use and nothing outside the image has been written, guaranteed by the caller (see
    // # Safety); the bytes are not kept.
    let segment = unsafe { loader_bytes("the BIOS's variables", EBDA_SEGMENT_AT, 2) }?;
    let extended_bios_data = (u64::from(segment[0]) | u64::from(segment[1]) << 8) * 16;
    Ok(BootInfo {
        protocol,
        map: &mut copies.map,
        map_report: found.map_report,
        command_line: copies.command_line.as_bytes(),
        rsdp: found.rsdp.map(|rsdp| match rsdp {
            FoundRsdp::At(address) => Rsdp::At(address),
            FoundRsdp::Copied => Rsdp::Copy(&copies.rsdp[..copies.rsdp_bytes]),
        }),
        rsdp_by_command_line: None,
        modules,
        framebuffer: found.framebuffer,
        extended_bios_data,
        entry_tsc: handoff.entry_tsc,
    })
}

/// # Safety
/// As for [`collect`].
unsafe fn pvh(info: u64, copies: &mut Copies) -> Result<Found, BootError> {
    // SAFETY: each of these needs that rt0's page tables are in use and that nothing outside the image has been written, which
    // the caller guarantees (see # Safety); no slice outlives this function.
    unsafe {
        let info = StartInfo::parse(loader_bytes("its structure", info, pvh::HEAD_BYTES_V1 as u64)?);
        let info = info.map_err(BootError::Pvh)?;
        let map = info.memory_map.ok_or(BootError::NoMemoryMap)?;
        let map = loader_table("the memory map", map, pvh::MEMORY_MAP_ENTRY_BYTES)?;
        let map_report = copies.map.fill(pvh::memory_map_entries(map));
        if let Some(address) = info.command_line_address {
            copies.command_line(loader_string(address)?)?;
        }
        if let Some(modules) = info.modules {
            // A module's address and length come first (Xen's hvm_modlist_entry).
            let list = loader_table("the list of modules", modules, pvh::MODULE_ENTRY_BYTES)?;
            for entry in list.chunks_exact(pvh::MODULE_ENTRY_BYTES) {
                let word =
                    |at: usize| entry[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                copies.module(PhysRange::new(word(0), word(0).saturating_add(word(8))))?;
            }
        }
        Ok(Found { map_report, rsdp: info.rsdp_address.map(FoundRsdp::At), framebuffer: None })
    }
}

/// # Safety
/// As for [`collect`].
unsafe fn multiboot1(info: u64, copies: &mut Copies) -> Result<Found, BootError> {
    // SAFETY: each of these needs that rt0's page tables are in use and that nothing outside the image has been written, which
    // the caller guarantees (see # Safety); no slice outlives this function.
    unsafe {
        let info = multiboot1::Info::parse(loader_bytes("its structure", info, MULTIBOOT1_BYTES)?);
        let info = info.map_err(BootError::Multiboot1)?;
        let map = info.memory_map.ok_or(BootError::NoMemoryMap)?;
        let map = loader_bytes("the memory map", map.start, checked("the memory map", map.len())?)?;
        let map_report = copies.map.fill(multiboot1::memory_map_entries(map).map_err(BootError::Multiboot1)?);
        if let Some(address) = info.command_line_address {
            let loader = match info.loader_name_address {
                Some(name) => loader_string(name)?,
                None => &[],
            };
            copies.command_line(multiboot1::without_file_name(loader_string(address)?, loader))?;
        }
        if let Some(modules) = info.modules {
            let list = loader_table("the list of modules", modules, multiboot1::MODULE_ENTRY_BYTES)?;
            for module in multiboot1::modules(list) {
                copies.module(module.range)?;
            }
        }
        Ok(Found { map_report, rsdp: None, framebuffer: info.framebuffer })
    }
}

/// # Safety
/// As for [`collect`].
unsafe fn multiboot2(info: u64, copies: &mut Copies) -> Result<Found, BootError> {
    // SAFETY: each of these needs that rt0's page tables are in use and that nothing outside the image has been written, which
    // the caller guarantees (see # Safety); no slice outlives this function.
    let bytes = unsafe {
        let head = loader_bytes("its structure", info, multiboot2::HEAD_BYTES as u64)?;
        let length = multiboot2::total_bytes(head).map_err(BootError::Multiboot2)?;
        loader_bytes("its structure", info, checked("the Multiboot 2 information", length.into())?)?
    };
    let info = multiboot2::Info::parse(bytes).map_err(BootError::Multiboot2)?;
    let map_report = copies.map.fill(info.memory_map.ok_or(BootError::NoMemoryMap)?.entries());
    copies.command_line(info.command_line.unwrap_or_default())?;
    for module in info.modules() {
        copies.module(module.range)?;
    }
    let rsdp = info.rsdp.map(|rsdp| copies.keep_rsdp(rsdp));
    Ok(Found { map_report, rsdp, framebuffer: info.framebuffer })
}

impl Copies {
    fn command_line(&mut self, line: &[u8]) -> Result<(), BootError> {
        if line.len() > MAX_COMMAND_LINE_BYTES {
            let (length, limit) = (line.len() as u64, MAX_COMMAND_LINE_BYTES as u64);
            return Err(BootError::TooLong { what: "the kernel command line", length, limit });
        }
        self.command_line.push_bytes(line);
        Ok(())
    }

    fn module(&mut self, range: PhysRange) -> Result<(), BootError> {
        let Some(slot) = self.modules.get_mut(self.module_count) else {
            let what = "the list of modules";
            let bytes = size_of::<PhysRange>() as u64;
            let (length, limit) = ((MAX_MODULES as u64 + 1) * bytes, MAX_MODULES as u64 * bytes);
            return Err(BootError::TooLong { what, length, limit });
        };
        *slot = range;
        self.module_count += 1;
        Ok(())
    }

    /// Keeps a copy of the RSDP.
    fn keep_rsdp(&mut self, rsdp: &[u8]) -> FoundRsdp {
        self.rsdp_bytes = rsdp.len().min(MAX_RSDP_BYTES);
        self.rsdp[..self.rsdp_bytes].copy_from_slice(&rsdp[..self.rsdp_bytes]);
        FoundRsdp::Copied
    }

    /// Reserves the modules. One that cannot be where the loader has it becomes an empty range, with a warning; the others
    /// keep their places in the list.
    fn check_modules(&mut self, address_bits: u8) {
        let io_regions = IoRegions::new();
        for module in &mut self.modules[..self.module_count] {
            let layout =
                PhysicalLayout { regions: self.map.regions(), io_regions: &io_regions, address_bits };
            let bytes = module.end.saturating_sub(module.start);
            match layout.check(module.start, bytes, Purpose::Module) {
                Ok(range) => {
                    let _ = self.map.reserve(range, ReservedReason::LoaderInfo);
                }
                Err(fault) => {
                    let end = module.end;
                    let reason = format_args!("ends at {end:#x}: {fault}: not used");
                    report_defect(&Defect {
                        table: "module",
                        address: Some(module.start),
                        offset: None,
                        reason,
                    });
                    *module = PhysRange::new(0, 0);
                }
            }
        }
    }
}

/// Reports what was wrong with the loader's memory map, and the memory in it that cannot be reached.
fn report_map(report: &MapReport, unreachable_bytes: u64) {
    let defect = |address, reason: fmt::Arguments<'_>| {
        report_defect(&Defect { table: "memory map", address, offset: None, reason });
    };
    if report.is_contradictory() {
        defect(None, format_args!("{report}"));
    }
    if unreachable_bytes > 0 {
        defect(
            None,
            format_args!(
                "{unreachable_bytes} bytes of memory lie beyond this processor's or the kernel's reach"
            ),
        );
    }
}

fn checked(what: &'static str, length: u64) -> Result<u64, BootError> {
    if length > MAX_TABLE_BYTES {
        return Err(BootError::TooLong { what, length, limit: MAX_TABLE_BYTES });
    }
    Ok(length)
}

/// # Safety
/// As for [`collect`]; the slice must not be kept.
unsafe fn loader_table(what: &'static str, table: Table, entry: usize) -> Result<&'static [u8], BootError> {
    let bytes = checked(what, u64::from(table.entries) * entry as u64)?;
    // SAFETY: the time is right, and the slice is not kept: guaranteed by the caller (see # Safety).
    unsafe { loader_bytes(what, table.address, bytes) }
}

/// A string that ends with a zero byte, without it.
///
/// # Safety
/// As for [`collect`]; the slice must not be kept.
unsafe fn loader_string(address: u64) -> Result<&'static [u8], BootError> {
    let (what, limit) = ("the kernel command line", MAX_COMMAND_LINE_BYTES as u64);
    let room = (EARLY_LIMIT - address.min(EARLY_LIMIT)).clamp(1, limit + 1);
    // SAFETY: the time is right, and the slice is not kept: guaranteed by the caller (see # Safety).
    let bytes = unsafe { loader_bytes(what, address, room) }?;
    let end = bytes.iter().position(|byte| *byte == 0);
    Ok(&bytes[..end.ok_or(BootError::TooLong { what, length: room, limit })?])
}

/// What the loader left at a physical address.
///
/// # Safety
/// As for [`collect`]; the slice must not be kept.
unsafe fn loader_bytes(what: &'static str, address: u64, bytes: u64) -> Result<&'static [u8], BootError> {
    if address.checked_add(bytes).is_none_or(|end| end > EARLY_LIMIT) {
        return Err(BootError::OutOfReach { what, address });
    }
    // SAFETY: rt0's tables map the first 4 GiB, and nobody writes there yet.
    Ok(unsafe { core::slice::from_raw_parts(direct_map::pointer(address), bytes as usize) })
}
