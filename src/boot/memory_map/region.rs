//! The memory map's vocabulary: ranges of physical addresses, what firmware says of them, and why the kernel took
//! them. Rounding and ordering live here, so that [the map](super) itself only splits and merges.

use core::fmt;
use core::ops::Range;

use crate::cpu::PAGE_BYTES;

/// Bytes in a frame, the grain in which memory is managed: [`PAGE_BYTES`], as wide as an address.
pub const FRAME_BYTES: u64 = PAGE_BYTES as u64;

/// One past the highest physical address that the architecture can name: 52 bits (Intel SDM Vol. 3A, "Enumeration of
/// Paging Features by CPUID", MAXPHYADDR).
pub const PHYSICAL_LIMIT: u64 = 1 << 52;

/// A range of physical addresses; `end` is exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhysRange {
    /// The first address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
}

impl PhysRange {
    /// The range from `start` up to, and without, `end`.
    pub const fn new(start: u64, end: u64) -> PhysRange {
        PhysRange { start, end }
    }

    /// Bytes in the range; 0 where the end is not past the start.
    pub const fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// The numbers of the frames that lie wholly inside.
    pub fn whole_frames(self) -> Range<u64> {
        let first = self.start.div_ceil(FRAME_BYTES);
        first..(self.end / FRAME_BYTES).max(first)
    }

    /// Whether an address is in both.
    pub const fn overlaps(self, other: PhysRange) -> bool {
        self.start < other.end && other.start < self.end && !self.is_empty() && !other.is_empty()
    }

    /// Whether all of it is in the other.
    pub const fn is_within(self, other: PhysRange) -> bool {
        other.start <= self.start && self.end <= other.end
    }

    /// The smallest range of whole frames that covers this one.
    pub fn rounded_out(self) -> PhysRange {
        PhysRange::new(self.start / FRAME_BYTES * FRAME_BYTES, self.end.div_ceil(FRAME_BYTES) * FRAME_BYTES)
    }
}

impl fmt::Display for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#014x}..{:#014x}", self.start, self.end)
    }
}

/// What firmware says a region is. Ordered by how much it forbids: where two entries overlap, the greater wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RegionKind {
    /// RAM that is the kernel's to use.
    Usable,
    /// RAM that holds ACPI tables, free once they have been read.
    AcpiReclaimable,
    /// Memory that outlives a power cycle: RAM in speed, but not to be overwritten unasked.
    Persistent,
    /// RAM that the firmware keeps across sleep.
    AcpiNvs,
    /// Devices, firmware, and every type that is not known.
    Reserved,
    /// RAM that is broken or switched off.
    Unusable,
}

impl RegionKind {
    /// The kind behind a type number of the BIOS interface E820, which PVH and both Multiboots share (ACPI 6.5
    /// §15, address range types: 1 memory, 2 reserved, 3 reclaimable, 4 NVS, 5 unusable, 6 disabled, 7 persistent).
    pub const fn from_e820(number: u32) -> RegionKind {
        match number {
            1 => RegionKind::Usable,
            3 => RegionKind::AcpiReclaimable,
            4 => RegionKind::AcpiNvs,
            5 | 6 => RegionKind::Unusable,
            7 => RegionKind::Persistent,
            _ => RegionKind::Reserved,
        }
    }
}

/// Why the kernel took a range out of the usable memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservedReason {
    /// Page 0: kept unmapped so that a null pointer faults, and home to the BIOS's own variables.
    FirstPage,
    /// What a PC shows of its display and its BIOS between 640 KiB and 1 MiB.
    LegacyArea,
    /// The kernel's image and BSS.
    Kernel,
    /// What the loader passed: command line, tables, modules.
    LoaderInfo,
    /// ACPI tables that firmware left in usable memory.
    AcpiTables,
    /// The page that the application processors wake up in.
    Trampoline,
    /// Page tables, and what else the early bump allocator gave out.
    EarlyTables,
    /// The frame allocator's own tables.
    FrameTables,
    /// What the command line says is to be left alone.
    CommandLine,
    /// Areas and stacks of the CPUs.
    PerCpu,
}

/// Who a region belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// As firmware described it.
    Firmware(RegionKind),
    /// Usable memory that the kernel has put to use, and what for.
    Kernel(ReservedReason),
}

impl Owner {
    /// Usable memory that nobody has taken.
    pub(super) const USABLE: Owner = Owner::Firmware(RegionKind::Usable);

    /// Whether there is memory, to be mapped as such.
    pub fn is_memory(self) -> bool {
        match self {
            Owner::Firmware(kind) => {
                matches!(kind, RegionKind::Usable | RegionKind::AcpiReclaimable | RegionKind::AcpiNvs)
            }
            Owner::Kernel(reason) => reason != ReservedReason::LegacyArea,
        }
    }

    /// What to forget first when the map is full. A region that is forgotten becomes a hole, which is no more usable
    /// than a reserved region; only forgetting a usable one costs memory. In between is what somebody may yet look up.
    pub(super) fn worth(self) -> u8 {
        match self {
            Owner::USABLE => 2,
            Owner::Kernel(_) | Owner::Firmware(RegionKind::AcpiReclaimable | RegionKind::AcpiNvs) => 1,
            Owner::Firmware(_) => 0,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Owner::Firmware(RegionKind::Usable) => "usable",
            Owner::Firmware(RegionKind::AcpiReclaimable) => "ACPI, reclaimable",
            Owner::Firmware(RegionKind::Persistent) => "persistent memory",
            Owner::Firmware(RegionKind::AcpiNvs) => "ACPI, kept across sleep",
            Owner::Firmware(RegionKind::Reserved) => "reserved by firmware",
            Owner::Firmware(RegionKind::Unusable) => "unusable",
            Owner::Kernel(ReservedReason::FirstPage) => "first page",
            Owner::Kernel(ReservedReason::LegacyArea) => "display and BIOS",
            Owner::Kernel(ReservedReason::Kernel) => "kernel image",
            Owner::Kernel(ReservedReason::LoaderInfo) => "loader's information",
            Owner::Kernel(ReservedReason::AcpiTables) => "ACPI tables",
            Owner::Kernel(ReservedReason::Trampoline) => "AP trampoline",
            Owner::Kernel(ReservedReason::EarlyTables) => "early tables",
            Owner::Kernel(ReservedReason::FrameTables) => "frame allocator's tables",
            Owner::Kernel(ReservedReason::CommandLine) => "reserved by command line",
            Owner::Kernel(ReservedReason::PerCpu) => "per-CPU areas and stacks",
        })
    }
}

/// One line of the loader's table, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEntry {
    /// The first address.
    pub base: u64,
    /// Bytes.
    pub len: u64,
    /// What it is said to be.
    pub kind: RegionKind,
}

/// One region of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Where it lies.
    pub range: PhysRange,
    /// Whose it is.
    pub owner: Owner,
}
