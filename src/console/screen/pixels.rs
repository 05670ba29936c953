//! Characters on a framebuffer.

#[cfg(any(target_os = "none", test))]
use core::ptr::NonNull;

use super::Surface;
use super::font::{Font, HEIGHT, WIDTH};

/// The layout of a framebuffer in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PixelLayout {
    /// Width in pixels.
    pub width: usize,
    /// Height in lines.
    pub height: usize,
    /// Bytes from one line to the next.
    pub pitch_bytes: usize,
    /// Bytes of a pixel: 2, 3 or 4.
    pub pixel_bytes: usize,
    /// The value of a text pixel. That of a background pixel is 0.
    pub foreground: u32,
}

impl PixelLayout {
    /// Whether the layout is valid: the pixel size is supported, and a line holds its pixels.
    pub(crate) fn is_sound(&self) -> bool {
        (2..=4).contains(&self.pixel_bytes)
            && self.width.checked_mul(self.pixel_bytes).is_some_and(|bytes| bytes <= self.pitch_bytes)
            && self.height.checked_mul(self.pitch_bytes).is_some()
    }

    /// The number of columns and rows of characters.
    pub(crate) fn cells(&self) -> (usize, usize) {
        (self.width / WIDTH, self.height / HEIGHT)
    }

    /// The size of the framebuffer in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.height * self.pitch_bytes
    }
}

/// The memory of a framebuffer.
pub(crate) trait Memory {
    /// Writes the `pixel_bytes` lowest bytes of `value` at the offset `byte`.
    fn set(&mut self, byte: usize, pixel_bytes: usize, value: u32);
}

/// Writes the `bytes` lowest bytes of `value` to device memory: by one volatile write if they are four and aligned, else byte
/// by byte. A framebuffer may begin at any address.
///
/// # Safety
/// `at` is valid for writes of `bytes` bytes, which no other code accesses at the same time.
#[cfg(any(target_os = "none", test))]
#[inline(always)]
pub(super) unsafe fn write_pixel(at: NonNull<u8>, bytes: usize, value: u32) {
    let whole = at.cast::<u32>();
    if bytes == size_of::<u32>() && whole.is_aligned() {
        // SAFETY: four bytes are valid for writes, guaranteed by the caller (see # Safety), and aligned, checked above.
        return unsafe { whole.write_volatile(value) };
    }
    for (offset, part) in value.to_le_bytes().into_iter().take(bytes).enumerate() {
        // SAFETY: `offset` is less than `bytes`, which lie in one object, guaranteed by the caller (see # Safety).
        let byte = unsafe { at.add(offset) };
        // SAFETY: the byte is one of `bytes`, which are valid for writes, guaranteed by the caller (see # Safety).
        unsafe { byte.write_volatile(part) };
    }
}

/// A framebuffer as a surface.
pub(crate) struct Pixels<'a, M> {
    /// The layout.
    pub layout: PixelLayout,
    /// The glyphs.
    pub font: &'a Font,
    /// The memory.
    pub memory: &'a mut M,
}

impl<M: Memory> Surface for Pixels<'_, M> {
    fn put(&mut self, column: usize, row: usize, character: u8) {
        let PixelLayout { pitch_bytes, pixel_bytes, foreground, .. } = self.layout;
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
