//! Characters on a screen of pixels.

#[cfg(any(target_os = "none", test))]
use core::ptr::NonNull;

use super::Surface;
use super::font::{Font, HEIGHT, WIDTH};

/// How a screen of pixels lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Pixels in a line.
    pub width: usize,
    /// Lines.
    pub height: usize,
    /// Bytes from one line to the next.
    pub pitch_bytes: usize,
    /// Bytes of a pixel: 2, 3 or 4.
    pub pixel_bytes: usize,
    /// The pixel that text is written in; the background is 0.
    pub foreground: u32,
}

impl Layout {
    /// Whether it makes sense: pixels of a size that is known, in lines that hold them.
    pub fn is_sound(&self) -> bool {
        (2..=4).contains(&self.pixel_bytes)
            && self.width.checked_mul(self.pixel_bytes).is_some_and(|bytes| bytes <= self.pitch_bytes)
            && self.height.checked_mul(self.pitch_bytes).is_some()
    }

    /// Columns and rows of characters.
    pub fn cells(&self) -> (usize, usize) {
        (self.width / WIDTH, self.height / HEIGHT)
    }

    /// What all of it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.height * self.pitch_bytes
    }
}

/// Memory that is shown.
pub trait Memory {
    /// Writes one pixel, whose bytes are `value`'s lowest ones.
    fn set(&mut self, byte: usize, pixel_bytes: usize, value: u32);
}

/// Writes the `bytes` lowest bytes of `value` to device memory: by one volatile write where they are four and aligned, byte
/// by byte where not. A loader may put the frame buffer at any address.
///
/// # Safety
/// `at` is mapped for so many bytes, which no other code uses at the same time.
#[cfg(any(target_os = "none", test))]
#[inline(always)]
pub(super) unsafe fn write_pixel(at: NonNull<u8>, bytes: usize, value: u32) {
    let whole = at.cast::<u32>();
    if bytes == size_of::<u32>() && whole.is_aligned() {
        // SAFETY: the caller guarantees four bytes (see # Safety), and they are aligned.
        return unsafe { whole.write_volatile(value) };
    }
    for (offset, part) in value.to_le_bytes().into_iter().take(bytes).enumerate() {
        // SAFETY: the caller guarantees so many bytes (see # Safety).
        unsafe { at.add(offset).write_volatile(part) };
    }
}

/// A screen of pixels.
pub struct Pixels<'a, M> {
    /// How it lies in memory.
    pub layout: Layout,
    /// The glyphs.
    pub font: &'a Font,
    /// The memory.
    pub memory: &'a mut M,
}

impl<M: Memory> Surface for Pixels<'_, M> {
    fn put(&mut self, column: usize, row: usize, character: u8) {
        let Layout { pitch_bytes, pixel_bytes, foreground, .. } = self.layout;
        for (line, bits) in self.font.glyph(character).iter().enumerate() {
            let start = (row * HEIGHT + line) * pitch_bytes + column * WIDTH * pixel_bytes;
            for pixel in 0..WIDTH {
                let is_set = bits & 0x80 >> pixel != 0;
                self.memory.set(
                    start + pixel * pixel_bytes,
                    pixel_bytes,
                    if is_set { foreground } else { 0 },
                );
            }
        }
    }
}
