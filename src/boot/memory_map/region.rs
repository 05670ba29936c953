//! Ranges of physical addresses, their kinds by firmware, and the reasons for which the kernel reserves them.

use core::fmt;
use core::ops::Range;

use crate::cpu::PAGE_BYTES;

/// The size of a page frame in bytes, as a `u64`: [`PAGE_BYTES`].
pub const FRAME_BYTES: u64 = PAGE_BYTES as u64;

/// The end of the architecture's physical address space (exclusive): 52 bits (Intel SDM Vol. 3A, "Enumeration of
/// Paging Features by CPUID", MAXPHYADDR).
pub const PHYSICAL_LIMIT: u64 = 1 << 52;

/// A range of physical addresses; `end` is exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhysRange {
    /// The first address.
    pub start: u64,
    /// The end (exclusive).
    pub end: u64,
}

impl PhysRange {
    /// Returns the range from `start` to `end` (exclusive).
    pub const fn new(start: u64, end: u64) -> PhysRange {
        PhysRange { start, end }
    }

    /// Returns the number of bytes; 0 if the end is not above the start.
    pub const fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether the range contains no address.
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// Returns the numbers of the frames that lie wholly inside.
    pub fn whole_frames(self) -> Range<u64> {
        let first = self.start.div_ceil(FRAME_BYTES);
        first..(self.end / FRAME_BYTES).max(first)
    }

    /// Whether the ranges have an address in common.
    pub const fn overlaps(self, other: PhysRange) -> bool {
        self.start < other.end && other.start < self.end && !self.is_empty() && !other.is_empty()
    }

    /// Whether the range lies inside the other one.
    pub const fn is_within(self, other: PhysRange) -> bool {
        other.start <= self.start && self.end <= other.end
    }

    /// Returns the smallest range of whole frames that contains this one.
    pub fn rounded_out(self) -> PhysRange {
        PhysRange::new(self.start / FRAME_BYTES * FRAME_BYTES, self.end.div_ceil(FRAME_BYTES) * FRAME_BYTES)
    }
}

impl fmt::Display for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#014x}..{:#014x}", self.start, self.end)
    }
}

/// The kind of a region by firmware, in ascending order of restriction: where two entries overlap, the greater one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RegionKind {
    /// RAM that the kernel may use.
    Usable,
    /// RAM that holds ACPI tables; usable after they have been read.
    AcpiReclaimable,
    /// Non-volatile memory, which must not be overwritten.
    Persistent,
    /// RAM that the firmware keeps across sleep.
    AcpiNvs,
    /// Devices, firmware, and all unknown types.
    Reserved,
    /// RAM that is faulty or disabled.
    Unusable,
}

impl RegionKind {
    /// Returns the kind for a type number of E820, which PVH and both Multiboots use too (ACPI 6.5
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

/// The reason for which the kernel reserved a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservedReason {
    /// Page 0: unmapped, so that a null pointer faults; it holds the BIOS's variables.
    FirstPage,
    /// The PC's video memory and BIOS ROM between 640 KiB and 1 MiB.
    LegacyArea,
    /// The kernel's image and BSS.
    Kernel,
    /// The loader's modules.
    LoaderInfo,
    /// ACPI tables that firmware left in usable memory.
    AcpiTables,
    /// The AP trampoline.
    Trampoline,
    /// Page tables and other allocations of the early bump allocator.
    EarlyTables,
    /// The frame allocator's tables.
    FrameTables,
    /// The parameter `reserve`.
    CommandLine,
    /// Per-CPU areas and stacks.
    PerCpu,
}

/// The owner of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Not reserved by the kernel; the kind is firmware's.
    Firmware(RegionKind),
    /// Usable memory that the kernel has reserved, with the reason.
    Kernel(ReservedReason),
}

impl Owner {
    /// Usable memory that is not reserved.
    pub(super) const USABLE: Owner = Owner::Firmware(RegionKind::Usable);

    /// Whether the region is RAM, which the direct map maps write-back.
    pub fn is_memory(self) -> bool {
        match self {
            Owner::Firmware(kind) => {
                matches!(kind, RegionKind::Usable | RegionKind::AcpiReclaimable | RegionKind::AcpiNvs)
            }
            Owner::Kernel(reason) => reason != ReservedReason::LegacyArea,
        }
    }

    /// The priority of the region when the map is full; the lowest is dropped first. A dropped region is a hole. Only a dropped
    /// usable region loses memory. Regions that are looked up later are in between.
    pub(super) fn drop_priority(self) -> u8 {
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
            Owner::Firmware(RegionKind::AcpiReclaimable) => "ACPI reclaimable",
            Owner::Firmware(RegionKind::Persistent) => "persistent memory",
            Owner::Firmware(RegionKind::AcpiNvs) => "ACPI NVS",
            Owner::Firmware(RegionKind::Reserved) => "reserved by firmware",
            Owner::Firmware(RegionKind::Unusable) => "unusable",
            Owner::Kernel(ReservedReason::FirstPage) => "first page",
            Owner::Kernel(ReservedReason::LegacyArea) => "video memory and BIOS",
            Owner::Kernel(ReservedReason::Kernel) => "kernel image",
            Owner::Kernel(ReservedReason::LoaderInfo) => "boot modules",
            Owner::Kernel(ReservedReason::AcpiTables) => "ACPI tables",
            Owner::Kernel(ReservedReason::Trampoline) => "AP trampoline",
            Owner::Kernel(ReservedReason::EarlyTables) => "early tables",
            Owner::Kernel(ReservedReason::FrameTables) => "frame allocator's tables",
            Owner::Kernel(ReservedReason::CommandLine) => "reserved by command line",
            Owner::Kernel(ReservedReason::PerCpu) => "per-CPU areas and stacks",
        })
    }
}

/// An entry of the loader's table, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEntry {
    /// The first address.
    pub base: u64,
    /// The length in bytes.
    pub len: u64,
    /// The kind.
    pub kind: RegionKind,
}

/// A region of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The addresses.
    pub range: PhysRange,
    /// The owner.
    pub owner: Owner,
}
