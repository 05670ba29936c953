//! VGA's text mode: whether the display is in it, and its cells. Registers are IBM's VGA's, as IBM's Personal System/2
//! Hardware Interface Technical Reference has them.

use core::ptr::NonNull;

use x86_64::instructions::port::Port;

use super::{Surface, TEXT_COLUMNS};

/// The miscellaneous output register, for reading; its bit 0 puts the CRT controller at 0x3d4.
const MISCELLANEOUS_OUTPUT: u16 = 0x3cc;
/// An index and a data register each.
const GRAPHICS_CONTROLLER: u16 = 0x3ce;
const CRT_CONTROLLER: u16 = 0x3d4;

/// Graphics controller: bit 0 for graphics, bits 2 and 3 for where the display memory is seen.
const MISCELLANEOUS: u8 = 6;
/// Characters, at 0xb8000.
const TEXT_AT_B8000: u8 = 0b1100;
const MISCELLANEOUS_MASK: u8 = 0b1101;

/// CRT controller: characters in a row, less one.
const HORIZONTAL_DISPLAY_END: u8 = 1;
/// Bit 5 hides the cursor.
const CURSOR_START: u8 = 0xa;
const CURSOR_OFF: u8 = 1 << 5;
/// Where in the display memory the screen begins, its high byte and its low one.
const START_ADDRESS: [u8; 2] = [0xc, 0xd];

/// Grey on black.
const ATTRIBUTE: u16 = 0x07 << 8;

/// The cells of the text screen.
pub struct TextMode(NonNull<u16>);

// SAFETY: whoever holds it writes the cells; it belongs to no CPU.
unsafe impl Send for TextMode {}

impl TextMode {
    /// The screen, if there is a VGA in 80-column text mode; where there is none, nothing is written but to ports that
    /// nobody listens at.
    ///
    /// # Safety
    /// `cells` leads to physical 0xb8000, mapped for good, and nobody else drives the display.
    pub unsafe fn find(cells: NonNull<u16>) -> Option<TextMode> {
        // SAFETY: nothing else drives the display, guaranteed by the caller (see # Safety). Without a VGA nothing answers, and all bits
        // read as ones.
        unsafe {
            let miscellaneous = Port::<u8>::new(MISCELLANEOUS_OUTPUT).read();
            if miscellaneous == 0xff || miscellaneous & 1 == 0 {
                return None;
            }
            let mode = read(GRAPHICS_CONTROLLER, MISCELLANEOUS)?;
            let columns = read(CRT_CONTROLLER, HORIZONTAL_DISPLAY_END)?;
            if mode & MISCELLANEOUS_MASK != TEXT_AT_B8000 || usize::from(columns) + 1 != TEXT_COLUMNS {
                return None;
            }
            for half in START_ADDRESS {
                write(CRT_CONTROLLER, half, 0);
            }
            let cursor = read(CRT_CONTROLLER, CURSOR_START)?;
            write(CRT_CONTROLLER, CURSOR_START, cursor | CURSOR_OFF);
        }
        Some(TextMode(cells))
    }
}

impl Surface for TextMode {
    fn put(&mut self, column: usize, row: usize, character: u8) {
        // SAFETY: a cell of the screen, by `find`'s contract.
        unsafe { self.0.add(row * TEXT_COLUMNS + column).write_volatile(ATTRIBUTE | u16::from(character)) };
    }
}

/// Reads a register behind an index; `None` where the index does not stay, for then nobody is there.
///
/// # Safety
/// Nobody else uses the registers.
unsafe fn read(index_port: u16, index: u8) -> Option<u8> {
    let mut select = Port::<u8>::new(index_port);
    // SAFETY: nothing else uses the registers, guaranteed by the caller (see # Safety); reading changes nothing but the index.
    unsafe {
        select.write(index);
        (select.read() == index).then(|| Port::<u8>::new(index_port + 1).read())
    }
}

/// Writes a register behind an index.
///
/// # Safety
/// Nobody else uses the registers, and the display bears the value.
unsafe fn write(index_port: u16, index: u8, value: u8) {
    // SAFETY: nothing else uses the registers, and the display bears the value, guaranteed by the caller (see # Safety).
    unsafe {
        Port::<u8>::new(index_port).write(index);
        Port::<u8>::new(index_port + 1).write(value);
    }
}
