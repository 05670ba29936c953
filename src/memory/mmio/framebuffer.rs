//! Opens the console's screen: VGA's text memory, or the framebuffer that the boot loader has set up.

use core::fmt;
use core::ptr::NonNull;

use super::mapping::map_framebuffer;
use crate::boot::defect::Defect;
use crate::boot::multiboot1::{Framebuffer, PixelFormat};
use crate::boot::{BootInfo, direct_map, report_defect};
use crate::console;
use crate::console::screen::DisplayMode;
use crate::console::screen::pixels::PixelLayout;

/// The largest framebuffer in bytes: 8192 by 8192 pixels of four bytes. A larger size is taken for an error of the loader.
const MAX_SCREEN_BYTES: usize = 256 << 20;

/// The physical address of VGA's text memory.
const TEXT_CELLS: u64 = 0xb_8000;

/// Opens the screen in VGA's text mode for the log, if the display is in that mode.
///
/// **Context:** boot, on the BSP, once, before anything else: rt0's tables map the text memory at the same address as the final ones.
pub(crate) fn open_text_screen() {
    let Some(cells) = NonNull::new(direct_map::pointer(TEXT_CELLS)) else { return };
    // SAFETY: called once. rt0 maps physical memory below 4 GiB, and the final tables map the display's range below 1 MiB at the same
    // address. Only the console uses the display.
    unsafe { console::open_text(cells) };
}

/// Opens the framebuffer that the loader has set up, unless the text screen is open. Returns the screen in use.
///
/// **Context:** boot, on the BSP, once, when the memory types of all CPUs are final.
pub(crate) fn open_pixel_screen(boot: &BootInfo) -> Option<DisplayMode> {
    let found = boot.framebuffer.as_ref().and_then(layout_of).and_then(|(address, layout)| {
        let refuse = |reason: fmt::Arguments<'_>| {
            report_defect(&Defect { table: "framebuffer", address: Some(address), offset: None, reason });
        };
        if !layout.is_sound() || layout.bytes() > MAX_SCREEN_BYTES {
            let PixelLayout { width, height, pitch_bytes, pixel_bytes, .. } = layout;
            refuse(format_args!(
                "{height} lines of {pitch_bytes} bytes, with {width} pixels of {pixel_bytes} bytes in each: not used"
            ));
            return None;
        }
        match map_framebuffer(address, layout.bytes() as u64) {
            Ok(mapped) => Some((layout, mapped)),
            Err(error) => {
                refuse(format_args!("{error}: not used"));
                None
            }
        }
    });
    // SAFETY: called once. `map_framebuffer` has mapped all bytes of the layout, which are never unmapped and are not RAM.
    unsafe { console::open_pixels(found) }
}

/// The physical address and the layout of a framebuffer, if its pixels are RGB.
fn layout_of(found: &Framebuffer) -> Option<(u64, PixelLayout)> {
    let PixelFormat::Rgb { red, green, blue } = found.format else { return None };
    let all_bits = |bits: u8| 1u64.checked_shl(bits.into()).map_or(u32::MAX, |over| (over - 1) as u32);
    let channels = [red, green, blue];
    // Grey: two thirds of full brightness.
    let foreground = channels.iter().fold(0, |pixel, channel| {
        let most = all_bits(channel.bits);
        pixel | (most - most / 3).checked_shl(channel.shift.into()).unwrap_or(0)
    });
    let layout = PixelLayout {
        width: found.width as usize,
        height: found.height as usize,
        pitch_bytes: found.pitch_bytes as usize,
        pixel_bytes: usize::from(found.bits_per_pixel).div_ceil(8),
        foreground,
    };
    Some((found.address, layout))
}
