//! Reads the memory that the loader filled, before the kernel uses that memory for other purposes.

use super::BootError;
use crate::boot::MAX_COMMAND_LINE_BYTES;
use crate::boot::direct_map::{self, EARLY_LIMIT};
use crate::boot::pvh::Table;

/// The maximum size in bytes of a table, and of the whole Multiboot 2 information: 40,000 memory map entries.
const MAX_TABLE_BYTES: u64 = 1 << 20;

/// Returns `length` if it is at most [`MAX_TABLE_BYTES`].
///
/// # Errors
/// [`BootError::TooLong`].
pub(crate) fn check_length(what: &'static str, length: u64) -> Result<u64, BootError> {
    if length > MAX_TABLE_BYTES {
        return Err(BootError::TooLong { what, length, limit: MAX_TABLE_BYTES });
    }
    Ok(length)
}

/// The memory that the loader filled, below [`EARLY_LIMIT`]. While a value exists, nothing writes there, so its slices are
/// valid.
pub(crate) struct LoaderMemory(());

impl LoaderMemory {
    /// Gives access to the memory.
    ///
    /// # Safety
    /// rt0's page tables are in use, and the kernel has written nothing outside its image. The value is dropped before the first
    /// such write.
    pub(crate) unsafe fn new() -> LoaderMemory {
        LoaderMemory(())
    }

    /// Returns the bytes of a table whose entries have `entry` bytes each.
    ///
    /// # Errors
    /// [`BootError::TooLong`] or [`BootError::OutOfReach`].
    pub(crate) fn table(&self, what: &'static str, table: Table, entry: usize) -> Result<&[u8], BootError> {
        let length = check_length(what, u64::from(table.entries) * entry as u64)?;
        self.bytes(what, table.address, length)
    }

    /// Returns a zero-terminated string, without its terminator.
    ///
    /// # Errors
    /// [`BootError::TooLong`] if no zero byte follows within [`MAX_COMMAND_LINE_BYTES`]; [`BootError::OutOfReach`].
    pub(crate) fn string(&self, address: u64) -> Result<&[u8], BootError> {
        let (what, limit) = ("the kernel command line", MAX_COMMAND_LINE_BYTES as u64);
        let room = (EARLY_LIMIT - address.min(EARLY_LIMIT)).clamp(1, limit + 1);
        let bytes = self.bytes(what, address, room)?;
        let end = bytes.iter().position(|byte| *byte == 0);
        Ok(&bytes[..end.ok_or(BootError::TooLong { what, length: room, limit })?])
    }

    /// Returns `length` bytes at a physical address.
    ///
    /// # Errors
    /// [`BootError::OutOfReach`] if the range does not end below [`EARLY_LIMIT`].
    pub(crate) fn bytes(&self, what: &'static str, address: u64, length: u64) -> Result<&[u8], BootError> {
        if address.checked_add(length).is_none_or(|end| end > EARLY_LIMIT) {
            return Err(BootError::OutOfReach { what, address });
        }
        // SAFETY: the range ends below EARLY_LIMIT (checked by this function), which rt0's page tables map (`early_page_tables`
        // in rt0.S). Nothing writes there while `self`, which the slice borrows, exists (# Safety of `new`).
        Ok(unsafe { core::slice::from_raw_parts(direct_map::pointer(address), length as usize) })
    }
}
