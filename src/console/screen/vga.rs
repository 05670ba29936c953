//! VGA's text mode: detection, and access to its cells. Registers as in IBM's Personal System/2 Hardware Interface Technical
//! Reference.

use core::ptr::NonNull;

use x86_64::instructions::port::Port;

use super::{Surface, TEXT_COLUMNS};

/// The read port of the miscellaneous output register. Bit 0: the CRT controller is at 0x3d4.
const MISCELLANEOUS_OUTPUT: u16 = 0x3cc;
/// The index ports; the data port follows each.
const GRAPHICS_CONTROLLER: u16 = 0x3ce;
const CRT_CONTROLLER: u16 = 0x3d4;

/// Graphics controller register: bit 0 selects graphics, bits 2 and 3 the address of the display memory.
const MISCELLANEOUS: u8 = 6;
/// Text at 0xb8000.
const TEXT_AT_B8000: u8 = 0b1100;
const MISCELLANEOUS_MASK: u8 = 0b1101;

/// CRT controller register: characters in a row, minus 1.
const HORIZONTAL_DISPLAY_END: u8 = 1;
/// CRT controller register. Bit 5 hides the cursor.
const CURSOR_START: u8 = 0xa;
const CURSOR_OFF: u8 = 1 << 5;
/// CRT controller registers: the start of the screen in the display memory, high and low byte.
const START_ADDRESS: [u8; 2] = [0xc, 0xd];

/// Grey on black.
const ATTRIBUTE: u16 = 0x07 << 8;

/// The cells of VGA's text mode.
pub(crate) struct TextMode(NonNull<u16>);

// SAFETY: the cells are mapped on all CPUs, and the holder of the value is the only writer (# Safety of `find`).
unsafe impl Send for TextMode {}

impl TextMode {
    /// Detects a VGA in 80-column text mode, and hides its cursor. Without a VGA, only unused ports are accessed.
    ///
    /// # Safety
    /// `cells` is a mapping of physical 0xb8000 that is never unmapped, and no other code drives the display.
    pub(crate) unsafe fn find(cells: NonNull<u16>) -> Option<TextMode> {
        // SAFETY: reading the port has no effect. Without a VGA it is unused, and all bits read as 1.
        let miscellaneous = unsafe { Port::<u8>::new(MISCELLANEOUS_OUTPUT).read() };
        if miscellaneous == 0xff || miscellaneous & 1 == 0 {
            return None;
        }
        // SAFETY: no other code uses the registers, guaranteed by the caller (see # Safety).
        let mode = unsafe { read(GRAPHICS_CONTROLLER, MISCELLANEOUS) }?;
        // SAFETY: no other code uses the registers, guaranteed by the caller (see # Safety).
        let columns = unsafe { read(CRT_CONTROLLER, HORIZONTAL_DISPLAY_END) }?;
        if mode & MISCELLANEOUS_MASK != TEXT_AT_B8000 || usize::from(columns) + 1 != TEXT_COLUMNS {
            return None;
        }
        for half in START_ADDRESS {
            // SAFETY: no other code uses the registers, guaranteed by the caller (see # Safety). The display starts at its
            // first cell.
            unsafe { write(CRT_CONTROLLER, half, 0) };
        }
        // SAFETY: no other code uses the registers, guaranteed by the caller (see # Safety).
        let cursor = unsafe { read(CRT_CONTROLLER, CURSOR_START) }?;
        // SAFETY: no other code uses the registers, guaranteed by the caller (see # Safety). The value is the one just read, with
        // the bit that hides the cursor.
        unsafe { write(CRT_CONTROLLER, CURSOR_START, cursor | CURSOR_OFF) };
        Some(TextMode(cells))
    }
}

impl Surface for TextMode {
    fn put(&mut self, column: usize, row: usize, character: u8) {
        // SAFETY: the sum must stay within the mapping: `Surface::put` is called for cells of the screen, which are mapped
        // (# Safety of `find`).
        let cell = unsafe { self.0.add(row * TEXT_COLUMNS + column) };
        // SAFETY: the cell is mapped for writing (# Safety of `find`), and only the holder of `SCREEN` writes it.
        unsafe { cell.write_volatile(ATTRIBUTE | u16::from(character)) };
    }
}

/// Reads an indexed register. `None` if the index does not read back: there is no such device.
///
/// # Safety
/// No other code uses the registers.
unsafe fn read(index_port: u16, index: u8) -> Option<u8> {
    let mut select = Port::<u8>::new(index_port);
    // SAFETY: no other code uses the registers, guaranteed by the caller (see # Safety). The write changes only the index.
    unsafe { select.write(index) };
    // SAFETY: reading the index has no effect.
    let selected = unsafe { select.read() };
    // SAFETY: reading the data of these two controllers has no effect.
    (selected == index).then(|| unsafe { Port::<u8>::new(index_port + 1).read() })
}

/// Writes an indexed register.
///
/// # Safety
/// No other code uses the registers, and the value is valid for the display.
unsafe fn write(index_port: u16, index: u8, value: u8) {
    // SAFETY: no other code uses the registers, guaranteed by the caller (see # Safety). The write changes only the index.
    unsafe { Port::<u8>::new(index_port).write(index) };
    // SAFETY: the value is valid for the register, guaranteed by the caller (see # Safety).
    unsafe { Port::<u8>::new(index_port + 1).write(value) };
}
