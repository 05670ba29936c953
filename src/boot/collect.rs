//! Copies what the loader passed out of memory that will soon be used for other things.

use core::fmt;

use spin::mutex::{SpinMutex, SpinMutexGuard};

use super::direct_map::{self, EARLY_LIMIT};
use super::memory_map::{MemoryMap, PhysRange, Report, ReservedReason};
use super::pvh::{self, PvhError, StartInfo};
use super::{Handoff, image};
use crate::console::LineBuffer;

/// How the kernel was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Xen's direct boot, which QEMU's `-kernel` speaks.
    Pvh,
}

impl Protocol {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Pvh => "pvh",
        }
    }
}

/// All that the kernel knows from its loader.
pub struct BootInfo {
    /// How it was loaded.
    pub protocol: Protocol,
    /// The machine's memory, with page 0 and the kernel's image reserved already.
    pub map: &'static mut MemoryMap,
    /// What was wrong with the loader's memory map.
    pub map_report: Report,
    /// The kernel command line.
    pub command_line: &'static [u8],
    /// Where the loader says that the RSDP lies, physical.
    pub rsdp: Option<u64>,
    /// Where a BIOS says that its extended data area begins: a word in page 0, which is not mapped for long.
    pub extended_bios_data: u64,
    /// The TSC when the kernel began.
    pub entry_tsc: u64,
}

/// The BIOS's variable that holds the segment of its extended data area.
const EBDA_SEGMENT_AT: u64 = 0x40e;

/// Why the loader's information cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootError {
    /// The structure itself is broken.
    Pvh(PvhError),
    /// Something lies beyond what the early page tables map.
    OutOfReach {
        /// What.
        what: &'static str,
        /// Where, physical.
        address: u64,
    },
    /// There is no memory map.
    NoMemoryMap,
    /// The memory map is longer than any machine's.
    MemoryMapTooLong {
        /// Its entries.
        entries: u32,
    },
    /// The command line does not end.
    CommandLineTooLong,
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BootError::Pvh(error) => error.fmt(f),
            BootError::OutOfReach { what, address } => {
                write!(f, "the loader put {what} at {address:#x}, beyond 4 GiB")
            }
            BootError::NoMemoryMap => f.write_str("the loader passed no memory map"),
            BootError::MemoryMapTooLong { entries } => {
                write!(f, "the loader's memory map has {entries} entries, more than {MAX_MAP_ENTRIES}")
            }
            BootError::CommandLineTooLong => {
                write!(f, "the kernel command line is longer than {MAX_COMMAND_LINE_BYTES} bytes")
            }
        }
    }
}

const MAX_MAP_ENTRIES: u32 = 4096;
const MAX_COMMAND_LINE_BYTES: usize = 2048;

struct Copies {
    map: MemoryMap,
    command_line: LineBuffer<MAX_COMMAND_LINE_BYTES>,
}

static COPIES: SpinMutex<Copies> =
    SpinMutex::new(Copies { map: MemoryMap::empty(), command_line: LineBuffer::new() });

/// Copies the loader's information.
///
/// # Safety
/// Called once, on rt0's page tables, before anything else is written to memory outside the image.
pub unsafe fn collect(handoff: &Handoff) -> Result<BootInfo, BootError> {
    // SAFETY: the caller vouches for the time; what the loader left is plain bytes.
    let start_info = unsafe { loader_bytes("its structure", handoff.start_info, pvh::HEAD_BYTES_V1 as u64) }?;
    let start_info = StartInfo::parse(start_info).map_err(BootError::Pvh)?;
    let copies: &'static mut Copies = SpinMutexGuard::leak(COPIES.lock());

    let table = start_info.memory_map.ok_or(BootError::NoMemoryMap)?;
    if table.entries > MAX_MAP_ENTRIES {
        return Err(BootError::MemoryMapTooLong { entries: table.entries });
    }
    let table_bytes = u64::from(table.entries) * pvh::MEMORY_MAP_ENTRY_BYTES as u64;
    // SAFETY: as above.
    let table = unsafe { loader_bytes("the memory map", table.address, table_bytes) }?;
    let map_report = copies.map.fill(pvh::memory_map_entries(table));
    let _ = copies.map.reserve(PhysRange::new(0, 4096), ReservedReason::FirstPage);
    let _ = copies.map.reserve(image::all(), ReservedReason::Kernel);

    if let Some(address) = start_info.command_line_address {
        let room = (EARLY_LIMIT - address.min(EARLY_LIMIT)).clamp(1, MAX_COMMAND_LINE_BYTES as u64);
        // SAFETY: as above.
        let bytes = unsafe { loader_bytes("the command line", address, room) }?;
        let end = bytes.iter().position(|byte| *byte == 0).ok_or(BootError::CommandLineTooLong)?;
        copies.command_line.push_bytes(&bytes[..end]);
    }

    // SAFETY: as above.
    let segment = unsafe { loader_bytes("the BIOS's variables", EBDA_SEGMENT_AT, 2) }?;
    let extended_bios_data = (u64::from(segment[0]) | u64::from(segment[1]) << 8) * 16;

    Ok(BootInfo {
        protocol: Protocol::Pvh,
        map: &mut copies.map,
        map_report,
        command_line: copies.command_line.as_bytes(),
        rsdp: start_info.rsdp_address,
        extended_bios_data,
        entry_tsc: handoff.entry_tsc,
    })
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
