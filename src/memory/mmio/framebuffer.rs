//! The display's memory, shown to the console.

use core::fmt;
use core::ptr::NonNull;

use super::mapping::map_screen;
use crate::boot::defect::Defect;
use crate::boot::multiboot1::{Framebuffer, PixelFormat};
use crate::boot::{BootInfo, direct_map, report_defect};
use crate::console::screen::pixels::Layout;
use crate::console::screen::{self, Shown};

/// The largest screen: more than 8192 by 8192 pixels of four bytes would be mapped page by page for a number's sake.
const MAX_SCREEN_BYTES: usize = 256 << 20;

/// Where VGA's text mode has its cells.
const TEXT_CELLS: u64 = 0xb_8000;

/// Lets the log be seen where the display is in VGA's text mode. Once, by the boot processor, before anything else: rt0's
/// tables show the cells where the final ones do.
pub fn open_text_screen() {
    let Some(cells) = NonNull::new(direct_map::pointer(TEXT_CELLS)) else { return };
    // SAFETY: once; rt0 maps what lies below 4 GiB, and the final tables the display's window below 1 MiB, at the same
    // address. Only the console drives the display.
    unsafe { screen::open_text(cells) };
}

/// Lets the log be seen on the screen that the loader has set up, unless it is seen already. Once, by the boot processor,
/// when all CPUs' memory types are what they will be. Returns what it is seen on.
pub fn open_pixel_screen(boot: &BootInfo) -> Option<Shown> {
    let found = boot.framebuffer.as_ref().and_then(layout_of).and_then(|(address, layout)| {
        let refuse = |reason: fmt::Arguments<'_>| {
            report_defect(&Defect { table: "framebuffer", address: Some(address), offset: None, reason });
        };
        if !layout.is_sound() || layout.bytes() > MAX_SCREEN_BYTES {
            let Layout { width, height, pitch_bytes, pixel_bytes, .. } = layout;
            refuse(format_args!(
                "{height} lines of {pitch_bytes} bytes, with {width} pixels of {pixel_bytes} bytes in each: not used"
            ));
            return None;
        }
        match map_screen(address, layout.bytes() as u64) {
            Ok(mapped) => Some((layout, mapped)),
            Err(error) => {
                refuse(format_args!("{error}: not used"));
                None
            }
        }
    });
    // SAFETY: once; all that the layout says has just been mapped, for good, and is no memory of anybody's.
    unsafe { screen::open_pixels(found) }
}

/// Where it lies, physical, and how, if its pixels have three colours.
fn layout_of(found: &Framebuffer) -> Option<(u64, Layout)> {
    let PixelFormat::Rgb { red, green, blue } = found.format else { return None };
    let all_bits = |bits: u8| 1u64.checked_shl(bits.into()).map_or(u32::MAX, |over| (over - 1) as u32);
    let channels = [red, green, blue];
    // Two thirds of full brightness: what is easy on the eyes is grey.
    let foreground = channels.iter().fold(0, |pixel, channel| {
        let most = all_bits(channel.bits);
        pixel | (most - most / 3).checked_shl(channel.shift.into()).unwrap_or(0)
    });
    let layout = Layout {
        width: found.width as usize,
        height: found.height as usize,
        pitch_bytes: found.pitch_bytes as usize,
        pixel_bytes: usize::from(found.bits_per_pixel).div_ceil(8),
        foreground,
    };
    Some((found.address, layout))
}
