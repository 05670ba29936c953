//! Linker-built tables. Each row is a static in a section of its own; the linker script defines symbols at the section's
//! start and end.

/// Returns the rows between `start` and `end`.
///
/// # Safety
/// The linker places rows of type `Row`, with their alignment, and nothing else between `start` and `end`. No code writes
/// to them.
pub(crate) unsafe fn rows<Row>(start: *const u8, end: *const u8) -> &'static [Row] {
    let bytes = end.addr() - start.addr();
    // SAFETY: rows of this type lie between the two and are never written, guaranteed by the caller (see # Safety). A section is
    // part of the image, which is never freed.
    unsafe { core::slice::from_raw_parts(start.cast(), bytes / size_of::<Row>()) }
}
