//! The list of used physical ranges outside RAM: device registers, framebuffers and firmware tables.

use core::fmt;

use super::memory_map::{FRAME_BYTES, PhysRange};

/// The maximum number of separate ranges: one for each I/O APIC (large machines have dozens), and a few for tables, which are
/// adjacent.
pub(crate) const MAX_IO_REGIONS: usize = 192;

/// A device with registers in physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The display's range below 1 MiB.
    Display,
    /// The local APICs, all at one address.
    LocalApic,
    /// An I/O APIC. Several may share a page.
    IoApic,
    /// The high-precision event timer.
    Hpet,
    /// The reset register.
    ResetRegister,
}

impl Device {
    /// The alignment of its registers in bytes: the local APIC's page (SDM Vol. 3A, 11.4.4), an I/O APIC's
    /// 256 bytes (82093AA datasheet, 3.1: the address is FEC0 xy00H), an HPET's 1 KiB (IA-PC HPET specification 1.0a, §2.3.1).
    pub const fn align(self) -> u64 {
        match self {
            Device::Display | Device::LocalApic => FRAME_BYTES,
            Device::IoApic => 256,
            Device::Hpet => 1024,
            Device::ResetRegister => 1,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Device::Display => "display",
            Device::LocalApic => "local APIC",
            Device::IoApic => "I/O APIC",
            Device::Hpet => "HPET",
            Device::ResetRegister => "reset register",
        })
    }
}

/// The use of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IoRegion {
    /// Device registers.
    Device(Device),
    /// A framebuffer.
    Screen,
    /// Firmware tables.
    Firmware,
}

/// The list of ranges and their uses, in no order.
#[derive(Clone, Debug)]
pub(crate) struct IoRegions {
    list: [(PhysRange, IoRegion); MAX_IO_REGIONS],
    count: usize,
}

/// There is no room for another range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyIoRegions;

impl Default for IoRegions {
    fn default() -> IoRegions {
        IoRegions::new()
    }
}

impl IoRegions {
    /// An empty list.
    pub(crate) const fn new() -> IoRegions {
        IoRegions { list: [(PhysRange::new(0, 0), IoRegion::Firmware); MAX_IO_REGIONS], count: 0 }
    }

    /// Adds a range of whole pages. No range of another use overlaps it. It is merged with a range of the same use that it touches.
    ///
    /// # Errors
    /// [`TooManyIoRegions`].
    pub(crate) fn add(&mut self, range: PhysRange, io_region: IoRegion) -> Result<(), TooManyIoRegions> {
        let touches =
            |known: PhysRange| known.start <= range.end && range.start <= known.end && !range.is_empty();
        let mut known = self.list[..self.count].iter_mut();
        if let Some((known, _)) = known.find(|(known, kind)| *kind == io_region && touches(*known)) {
            *known = PhysRange::new(known.start.min(range.start), known.end.max(range.end));
            return Ok(());
        }
        *self.list.get_mut(self.count).ok_or(TooManyIoRegions)? = (range, io_region);
        self.count += 1;
        Ok(())
    }

    /// Removes whole pages at the start or at the end of a range; nothing if they are not there.
    pub(crate) fn remove(&mut self, range: PhysRange) {
        let is_edge = |known: &PhysRange| {
            range.is_within(*known) && (known.start == range.start || known.end == range.end)
        };
        let Some(index) = self.list[..self.count].iter().position(|(known, _)| is_edge(known)) else {
            return;
        };
        let known = &mut self.list[index].0;
        if known.end == range.end {
            known.end = range.start;
        } else {
            known.start = range.end;
        }
        if known.is_empty() {
            self.count -= 1;
            self.list.swap(index, self.count);
        }
    }

    /// The use of the range that contains an address, and the end of that range.
    pub(crate) fn at(&self, address: u64) -> Option<(IoRegion, u64)> {
        let mut list = self.list[..self.count].iter();
        let found = list.find(|(range, _)| range.start <= address && address < range.end);
        found.map(|(range, io_region)| (*io_region, range.end))
    }

    /// The ranges that overlap a range.
    pub(crate) fn overlapping(&self, range: PhysRange) -> impl Iterator<Item = (PhysRange, IoRegion)> {
        self.list[..self.count].iter().copied().filter(move |(known, _)| known.overlaps(range))
    }

    /// The start of the next range above an address.
    pub(crate) fn next_after(&self, address: u64) -> Option<u64> {
        self.list[..self.count].iter().map(|(range, _)| range.start).filter(|start| *start > address).min()
    }
}
