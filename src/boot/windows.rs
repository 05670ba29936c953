//! What is known beside memory: devices' registers, screens and firmware's tables, each because it was asked for.

use core::fmt;

use super::memory_map::{FRAME_BYTES, PhysRange};

/// Separate ranges that can be kept: one for each I/O APIC, of which large machines have dozens, and some for tables, which
/// lie side by side.
pub const MAX_WINDOWS: usize = 192;

/// Whose registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The display's window below 1 MiB.
    Display,
    /// The local APICs, all at one address.
    LocalApic,
    /// An I/O APIC. Several may share a page.
    IoApic,
    /// The high-precision event timer.
    Hpet,
    /// What resets the machine.
    ResetRegister,
}

impl Device {
    /// What its registers' address is a multiple of, in bytes: the local APIC's page (SDM Vol. 3A, 11.4.4), an I/O APIC's
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

/// What a window shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// A device's registers.
    Device(Device),
    /// The pixels of a screen.
    Screen,
    /// What firmware left to be read.
    Firmware,
}

/// The list, in no order.
#[derive(Clone, Debug)]
pub struct Windows {
    list: [(PhysRange, Window); MAX_WINDOWS],
    count: usize,
}

/// There is no room for another window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyWindows;

impl Default for Windows {
    fn default() -> Windows {
        Windows::new()
    }
}

impl Windows {
    /// None.
    pub const fn new() -> Windows {
        Windows { list: [(PhysRange::new(0, 0), Window::Firmware); MAX_WINDOWS], count: 0 }
    }

    /// Adds whole pages, which no window of another kind overlaps. A range that touches a window of its kind becomes one
    /// with it.
    pub fn add(&mut self, range: PhysRange, window: Window) -> Result<(), TooManyWindows> {
        let touches =
            |known: PhysRange| known.start <= range.end && range.start <= known.end && !range.is_empty();
        let mut known = self.list[..self.count].iter_mut();
        if let Some((known, _)) = known.find(|(known, kind)| *kind == window && touches(*known)) {
            *known = PhysRange::new(known.start.min(range.start), known.end.max(range.end));
            return Ok(());
        }
        *self.list.get_mut(self.count).ok_or(TooManyWindows)? = (range, window);
        self.count += 1;
        Ok(())
    }

    /// Removes whole pages at the beginning or at the end of a window; nothing if they are not that.
    pub fn remove(&mut self, range: PhysRange) {
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

    /// The window that an address lies in, and where it ends.
    pub fn at(&self, address: u64) -> Option<(Window, u64)> {
        let mut list = self.list[..self.count].iter();
        let found = list.find(|(range, _)| range.start <= address && address < range.end);
        found.map(|(range, window)| (*window, range.end))
    }

    /// The windows that share an address with a range.
    pub fn overlapping(&self, range: PhysRange) -> impl Iterator<Item = (PhysRange, Window)> {
        self.list[..self.count].iter().copied().filter(move |(known, _)| known.overlaps(range))
    }

    /// Where the next window above an address begins.
    pub fn next_after(&self, address: u64) -> Option<u64> {
        self.list[..self.count].iter().map(|(range, _)| range.start).filter(|start| *start > address).min()
    }
}
