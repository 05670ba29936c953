//! Which rows may be patched, and what a patch looks like.

use core::fmt;
use core::ops::Range;

/// `jmp [rip+0]` and the address behind it: the shortest jump that reaches anywhere and spoils no register.
pub const PATCH_BYTES: usize = 14;

/// A row of the table, by its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The function to be replaced.
    pub source: u64,
    /// How many bytes belong to it.
    pub length: u64,
    /// What replaces it.
    pub destination: u64,
}

/// Why a row must not be patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectError {
    /// The source is shorter than the patch.
    TooShort {
        /// The row.
        row: Row,
    },
    /// The source overlaps that of an earlier row.
    Overlaps {
        /// The row.
        row: Row,
        /// The earlier one.
        earlier: Row,
    },
    /// The source or the destination is not in the kernel's code.
    NotCode {
        /// The row.
        row: Row,
    },
}

impl fmt::Display for RedirectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (RedirectError::TooShort { row }
        | RedirectError::Overlaps { row, .. }
        | RedirectError::NotCode { row }) = self;
        write!(f, "the function at {:#x} cannot be redirected: ", row.source)?;
        match self {
            RedirectError::TooShort { row } => {
                write!(f, "it has {} bytes, and the jump takes {PATCH_BYTES}", row.length)
            }
            RedirectError::Overlaps { earlier, .. } => {
                write!(f, "it overlaps the one at {:#x}", earlier.source)
            }
            RedirectError::NotCode { row } => {
                write!(f, "it or its destination {:#x} is not code of the kernel's", row.destination)
            }
        }
    }
}

impl core::error::Error for RedirectError {}

/// Checks a row against those before it, and against the kernel's code.
pub fn check(row: Row, earlier: impl Iterator<Item = Row>, text: Range<u64>) -> Result<(), RedirectError> {
    let end = row.source.checked_add(row.length).ok_or(RedirectError::NotCode { row })?;
    if !text.contains(&row.source) || end > text.end || !text.contains(&row.destination) {
        return Err(RedirectError::NotCode { row });
    }
    if row.length < PATCH_BYTES as u64 {
        return Err(RedirectError::TooShort { row });
    }
    for earlier in earlier {
        if row.source < earlier.source + earlier.length && earlier.source < end {
            return Err(RedirectError::Overlaps { row, earlier });
        }
    }
    Ok(())
}

/// The jump to an address.
pub fn patch(destination: u64) -> [u8; PATCH_BYTES] {
    // JMP r/m64 with a RIP-relative operand 0 bytes ahead (SDM Vol. 2A, JMP).
    let mut patch = [0; PATCH_BYTES];
    patch[..2].copy_from_slice(&[0xff, 0x25]);
    patch[6..].copy_from_slice(&destination.to_le_bytes());
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Range<u64> = 0x1000..0x2000;

    fn row(source: u64, length: u64) -> Row {
        Row { source, length, destination: 0x1800 }
    }

    fn checked(row: Row, earlier: &[Row]) -> Result<(), RedirectError> {
        check(row, earlier.iter().copied(), TEXT)
    }

    #[test]
    fn a_source_needs_room_for_the_jump() {
        assert_eq!(checked(row(0x1000, 14), &[]), Ok(()));
        assert_eq!(checked(row(0x1000, 13), &[]), Err(RedirectError::TooShort { row: row(0x1000, 13) }));
    }

    #[test]
    fn sources_may_touch_but_not_overlap() {
        let first = row(0x1100, 16);
        assert_eq!(checked(row(0x1110, 16), &[first]), Ok(()));
        assert_eq!(checked(row(0x10f0, 16), &[first]), Ok(()));
        for source in [0x10f1, 0x1100, 0x110f] {
            let row = row(source, 16);
            assert_eq!(checked(row, &[first]), Err(RedirectError::Overlaps { row, earlier: first }));
        }
    }

    #[test]
    fn only_code_is_patched_and_only_code_is_jumped_to() {
        let outside = [
            row(0xff8, 16),
            row(0x1ff8, 16),
            row(u64::MAX, 16),
            Row { destination: 0x2000, ..row(0x1000, 16) },
            Row { destination: 0, ..row(0x1000, 16) },
        ];
        for row in outside {
            assert_eq!(checked(row, &[]), Err(RedirectError::NotCode { row }));
        }
    }

    #[test]
    fn the_jump_is_what_the_manual_says() {
        let bytes = [0xff, 0x25, 0, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11];
        assert_eq!(patch(0x1122_3344_5566_7788), bytes);
    }
}
