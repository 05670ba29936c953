//! What is mapped beside memory: devices' registers and firmware's tables, each because somebody asked for it.

use crate::boot::memory_map::PhysRange;

/// Separate ranges that can be kept. Machines have a handful of devices here, and firmware's tables lie side by side.
const MAX_WINDOWS: usize = 64;

/// What a window shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// A device's registers.
    Device,
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
        Windows { list: [(PhysRange::new(0, 0), Window::Device); MAX_WINDOWS], count: 0 }
    }

    /// Adds whole pages, which none of the list overlaps. One that begins where another of its kind ends prolongs it.
    pub fn add(&mut self, range: PhysRange, window: Window) -> Result<(), TooManyWindows> {
        let mut known = self.list[..self.count].iter_mut();
        if let Some((before, _)) = known.find(|(known, kind)| *kind == window && known.end == range.start) {
            before.end = range.end;
            return Ok(());
        }
        *self.list.get_mut(self.count).ok_or(TooManyWindows)? = (range, window);
        self.count += 1;
        Ok(())
    }

    /// The window that an address lies in, and where it ends.
    pub fn at(&self, address: u64) -> Option<(Window, u64)> {
        let mut list = self.list[..self.count].iter();
        let found = list.find(|(range, _)| range.start <= address && address < range.end);
        found.map(|(range, window)| (*window, range.end))
    }

    /// Where the next window above an address begins.
    pub fn next_after(&self, address: u64) -> Option<u64> {
        self.list[..self.count].iter().map(|(range, _)| range.start).filter(|start| *start > address).min()
    }
}
