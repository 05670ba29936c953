//! What [`fill`](super::RegionMap::fill) had to put right in the loader's entries, and what a full map gave up.

use core::fmt;

/// What was wrong with the loader's entries, and what the map gave up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapReport {
    /// Entries read.
    pub entries: u32,
    /// Entries without a byte in them; skipped.
    pub zero_length: u32,
    /// Entries that begin below the one before them.
    pub unsorted: u32,
    /// Entries that overlap one taken earlier.
    pub overlapping: u32,
    /// Entries whose end lies past 2^64; cut off at [`PHYSICAL_LIMIT`](super::PHYSICAL_LIMIT).
    pub wrapping: u32,
    /// Other entries whose end lies past [`PHYSICAL_LIMIT`](super::PHYSICAL_LIMIT); cut off there.
    pub clamped: u32,
    /// Entries that begin at or past [`PHYSICAL_LIMIT`](super::PHYSICAL_LIMIT); skipped.
    pub out_of_range: u32,
    /// What did not fit into the map.
    pub truncated: Truncated,
}

/// What a map that was full gave up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Truncated {
    /// Regions nobody may use that the map no longer tells from a hole. Costs nothing but the line in the table.
    pub regions: u32,
    /// Usable memory given up, in bytes; an upper bound, for a later entry may have brought some of it back.
    pub usable_bytes: u64,
}

impl MapReport {
    /// Whether what the table says cannot all be true, or memory was lost. Entries without a byte and a table out of order
    /// are no contradiction.
    pub fn is_contradictory(&self) -> bool {
        let counts =
            [self.overlapping, self.wrapping, self.clamped, self.out_of_range, self.truncated.regions];
        counts.iter().any(|count| *count > 0) || self.truncated.usable_bytes > 0
    }

    /// Whether the loader's table was in order and fitted.
    pub fn is_clean(&self) -> bool {
        *self == MapReport { entries: self.entries, ..MapReport::default() }
    }
}

impl fmt::Display for MapReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries", self.entries)?;
        let put_right = [
            (self.zero_length, "empty"),
            (self.unsorted, "out of order"),
            (self.overlapping, "overlapping"),
            (self.wrapping, "wrapping past 2^64"),
            (self.clamped, "cut off at 2^52"),
            (self.out_of_range, "beyond 2^52"),
            (self.truncated.regions, "reserved dropped (map full)"),
        ];
        for (count, what) in put_right.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        match self.truncated.usable_bytes {
            0 => Ok(()),
            bytes => write!(f, ", up to {bytes} usable bytes dropped (map full)"),
        }
    }
}
