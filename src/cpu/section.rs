//! Tables that the linker gathers: each row is a static of its own in a section, and the linker script marks both ends.

/// The rows between two marks.
///
/// # Safety
/// The linker puts rows of this type, aligned as they are, and nothing else between the two; nobody writes to them.
pub unsafe fn rows<Row>(start: *const u8, end: *const u8) -> &'static [Row] {
    let bytes = end.addr() - start.addr();
    // SAFETY: rows of this type lie between the two and are never written, guaranteed by the caller (see # Safety). A section is
    // part of the image, which is never freed.
    unsafe { core::slice::from_raw_parts(start.cast(), bytes / size_of::<Row>()) }
}
