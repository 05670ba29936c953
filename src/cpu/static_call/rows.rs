//! The checks on rows, and the patch itself.

use core::fmt;
use core::ops::Range;

/// The length of a patch in bytes: `jmp [rip+0]` and the destination's address. This is the shortest jump to any address
/// that uses no register.
pub(crate) const PATCH_BYTES: usize = 14;

/// The addresses of a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The name of the source.
    pub name: &'static str,
    /// The address of the function to replace.
    pub source: u64,
    /// The length of the source in bytes.
    pub length: u64,
    /// The address of the replacement.
    pub destination: u64,
}

/// The reason why a row must not be patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StaticCallError {
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

impl fmt::Display for StaticCallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (StaticCallError::TooShort { row }
        | StaticCallError::Twice { row, .. }
        | StaticCallError::Overlaps { row, .. }
        | StaticCallError::NotCode { row }) = self;
        write!(f, "the function {} at {:#x} cannot be patched: ", row.name, row.source)?;
        match self {
            StaticCallError::TooShort { row } => {
                write!(f, "it has {} bytes, the jump needs {PATCH_BYTES}", row.length)
            }
            StaticCallError::Twice { row, earlier } => {
                write!(f, "two destinations, {:#x} and {:#x}", earlier.destination, row.destination)
            }
            StaticCallError::Overlaps { earlier, .. } => {
                write!(f, "it overlaps {} at {:#x}", earlier.name, earlier.source)
            }
            StaticCallError::NotCode { row } => {
                write!(f, "it or its destination {:#x} is not kernel code", row.destination)
            }
        }
    }
}

impl core::error::Error for StaticCallError {}

/// Checks all rows whose condition is true, each against the earlier rows and against the kernel's code. Returns their
/// number. At most one row per source is allowed.
///
/// # Errors
/// The first row that must not be patched.
pub(crate) fn check(
    rows: impl Iterator<Item = Row> + Clone,
    text: Range<u64>,
) -> Result<usize, StaticCallError> {
    for (index, row) in rows.clone().enumerate() {
        let end = row.source.checked_add(row.length).ok_or(StaticCallError::NotCode { row })?;
        if !text.contains(&row.source) || end > text.end || !text.contains(&row.destination) {
            return Err(StaticCallError::NotCode { row });
        }
        if row.length < PATCH_BYTES as u64 {
            return Err(StaticCallError::TooShort { row });
        }
        for earlier in rows.clone().take(index) {
            if row.source == earlier.source {
                return Err(StaticCallError::Twice { row, earlier });
            }
            if row.source < earlier.source + earlier.length && earlier.source < end {
                return Err(StaticCallError::Overlaps { row, earlier });
            }
        }
    }
    Ok(rows.count())
}

/// Encodes the jump to `destination`.
pub(crate) fn patch(destination: u64) -> [u8; PATCH_BYTES] {
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

    fn checked(rows: &[Row]) -> Result<usize, StaticCallError> {
        check(rows.iter().copied(), TEXT)
    }

    #[test]
    fn a_source_needs_room_for_the_jump() {
        assert_eq!(checked(&[row(0x1000, 14)]), Ok(1));
        let short = row(0x1000, 13);
        assert_eq!(checked(&[row(0x1100, 16), short]), Err(StaticCallError::TooShort { row: short }));
    }

    #[test]
    fn sources_may_touch_but_not_overlap() {
        let earlier = row(0x1100, 16);
        assert_eq!(checked(&[earlier, row(0x1110, 16), row(0x10f0, 16)]), Ok(3));
        for source in [0x10f1, 0x10ff, 0x1101, 0x110f] {
            let row = row(source, 16);
            assert_eq!(checked(&[earlier, row]), Err(StaticCallError::Overlaps { row, earlier }));
        }
    }

    /// A function may have a row for a processor feature and one for a fault. At most one condition may be true.
    #[test]
    fn a_source_has_at_most_one_destination() {
        let for_feature = row(0x1100, 16);
        let for_fault = Row { destination: 0x1900, ..for_feature };
        for holding in [[true, false], [false, true], [false, false]] {
            let rows = [for_feature, for_fault].into_iter().zip(holding);
            let rows = rows.filter(|(_, holds)| *holds).map(|(row, _)| row);
            assert_eq!(check(rows.clone(), TEXT), Ok(rows.count()));
        }
        let error = StaticCallError::Twice { row: for_fault, earlier: for_feature };
        assert_eq!(checked(&[for_feature, for_fault]), Err(error));
        assert_eq!(
            error.to_string(),
            "the function f at 0x1100 cannot be patched: two destinations, 0x1800 and 0x1900"
        );
        // A duplicate declaration is an error even if the destination is the same.
        assert!(checked(&[for_feature, row(0x1200, 16), for_feature]).is_err());
    }

    #[test]
    fn source_and_destination_must_be_code() {
        let outside = [
            row(0xff8, 16),
            row(0x1ff8, 16),
            row(u64::MAX, 16),
            Row { destination: 0x2000, ..row(0x1000, 16) },
            Row { destination: 0, ..row(0x1000, 16) },
        ];
        for row in outside {
            assert_eq!(checked(&[row]), Err(StaticCallError::NotCode { row }));
        }
    }

    #[test]
    fn the_patch_is_an_indirect_rip_relative_jump() {
        let bytes = [0xff, 0x25, 0, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11];
        assert_eq!(patch(0x1122_3344_5566_7788), bytes);
    }
}
