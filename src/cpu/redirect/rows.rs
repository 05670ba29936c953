//! Which rows may be patched, and what a patch looks like.

use core::fmt;
use core::ops::Range;

/// `jmp [rip+0]` and the address behind it: the shortest jump that reaches anywhere and spoils no register.
pub const PATCH_BYTES: usize = 14;

/// A row of the table, by its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The source's name.
    pub name: &'static str,
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
    /// Two rows replace the same source.
    Twice {
        /// The later one.
        row: Row,
        /// The earlier one.
        earlier: Row,
    },
    /// The source overlaps another row's.
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
        | RedirectError::Twice { row, .. }
        | RedirectError::Overlaps { row, .. }
        | RedirectError::NotCode { row }) = self;
        write!(f, "the function {} at {:#x} cannot be redirected: ", row.name, row.source)?;
        match self {
            RedirectError::TooShort { row } => {
                write!(f, "it has {} bytes, and the jump takes {PATCH_BYTES}", row.length)
            }
            RedirectError::Twice { row, earlier } => {
                write!(f, "to {:#x} and to {:#x} at once", earlier.destination, row.destination)
            }
            RedirectError::Overlaps { earlier, .. } => {
                write!(f, "it overlaps {} at {:#x}", earlier.name, earlier.source)
            }
            RedirectError::NotCode { row } => {
                write!(f, "it or its destination {:#x} is not code of the kernel's", row.destination)
            }
        }
    }
}

impl core::error::Error for RedirectError {}

/// Checks all rows that hold on this machine, each against those before it and against the kernel's code; gives their
/// number. Of rows for one source at most one may hold.
pub fn check(rows: impl Iterator<Item = Row> + Clone, text: Range<u64>) -> Result<usize, RedirectError> {
    for (index, row) in rows.clone().enumerate() {
        let end = row.source.checked_add(row.length).ok_or(RedirectError::NotCode { row })?;
        if !text.contains(&row.source) || end > text.end || !text.contains(&row.destination) {
            return Err(RedirectError::NotCode { row });
        }
        if row.length < PATCH_BYTES as u64 {
            return Err(RedirectError::TooShort { row });
        }
        for earlier in rows.clone().take(index) {
            if row.source == earlier.source {
                return Err(RedirectError::Twice { row, earlier });
            }
            if row.source < earlier.source + earlier.length && earlier.source < end {
                return Err(RedirectError::Overlaps { row, earlier });
            }
        }
    }
    Ok(rows.count())
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
        Row { name: "f", source, length, destination: 0x1800 }
    }

    fn checked(rows: &[Row]) -> Result<usize, RedirectError> {
        check(rows.iter().copied(), TEXT)
    }

    #[test]
    fn a_source_needs_room_for_the_jump() {
        assert_eq!(checked(&[row(0x1000, 14)]), Ok(1));
        let short = row(0x1000, 13);
        assert_eq!(checked(&[row(0x1100, 16), short]), Err(RedirectError::TooShort { row: short }));
    }

    #[test]
    fn sources_may_touch_but_not_overlap() {
        let earlier = row(0x1100, 16);
        assert_eq!(checked(&[earlier, row(0x1110, 16), row(0x10f0, 16)]), Ok(3));
        for source in [0x10f1, 0x10ff, 0x1101, 0x110f] {
            let row = row(source, 16);
            assert_eq!(checked(&[earlier, row]), Err(RedirectError::Overlaps { row, earlier }));
        }
    }

    /// A function may have a row for a processor's feature and one for a fault: whichever holds is patched, and where
    /// both do, neither is.
    #[test]
    fn a_source_goes_to_one_place_only() {
        let for_feature = row(0x1100, 16);
        let for_fault = Row { destination: 0x1900, ..for_feature };
        for holding in [[true, false], [false, true], [false, false]] {
            let rows = [for_feature, for_fault].into_iter().zip(holding);
            let rows = rows.filter(|(_, holds)| *holds).map(|(row, _)| row);
            assert_eq!(check(rows.clone(), TEXT), Ok(rows.count()));
        }
        let error = RedirectError::Twice { row: for_fault, earlier: for_feature };
        assert_eq!(checked(&[for_feature, for_fault]), Err(error));
        assert_eq!(
            error.to_string(),
            "the function f at 0x1100 cannot be redirected: to 0x1800 and to 0x1900 at once"
        );
        // Even to one and the same place: somebody has declared it twice.
        assert!(checked(&[for_feature, row(0x1200, 16), for_feature]).is_err());
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
            assert_eq!(checked(&[row]), Err(RedirectError::NotCode { row }));
        }
    }

    #[test]
    fn the_jump_is_what_the_manual_says() {
        let bytes = [0xff, 0x25, 0, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11];
        assert_eq!(patch(0x1122_3344_5566_7788), bytes);
    }
}
