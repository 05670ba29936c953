//! The corrections that [`fill`](super::RegionMap::fill) made to the loader's entries, and the regions that it dropped.

use core::fmt;

/// Counts of the errors in the loader's entries, and of dropped regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapReport {
    /// Entries read.
    pub entries: u32,
    /// Empty entries; skipped.
    pub zero_length: u32,
    /// Entries that begin below the entry before them.
    pub unsorted: u32,
    /// Entries that overlap an earlier one.
    pub overlapping: u32,
    /// Entries whose end lies above 2^64; truncated at [`PHYSICAL_LIMIT`](super::PHYSICAL_LIMIT).
    pub wrapping: u32,
    /// Other entries whose end lies above [`PHYSICAL_LIMIT`](super::PHYSICAL_LIMIT); truncated there.
    pub clamped: u32,
    /// Entries that begin at or above [`PHYSICAL_LIMIT`](super::PHYSICAL_LIMIT); skipped.
    pub out_of_range: u32,
    /// Regions that did not fit into the map.
    pub truncated: Truncated,
}

/// Regions that a full map dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Truncated {
    /// Reserved regions, which are holes now. No usable memory is lost.
    pub regions: u32,
    /// Usable memory dropped, in bytes. An upper bound: a later entry can contain the same memory.
    pub usable_bytes: u64,
}

impl MapReport {
    /// Whether entries contradict each other or the architecture, or regions were dropped. Empty and unsorted entries do not
    /// count.
    pub fn is_contradictory(&self) -> bool {
        let counts =
            [self.overlapping, self.wrapping, self.clamped, self.out_of_range, self.truncated.regions];
        counts.iter().any(|count| *count > 0) || self.truncated.usable_bytes > 0
    }

    /// Whether nothing was corrected and nothing dropped.
    pub fn is_clean(&self) -> bool {
        *self == MapReport { entries: self.entries, ..MapReport::default() }
    }
}

impl fmt::Display for MapReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries", self.entries)?;
        let corrections = [
            (self.zero_length, "empty"),
            (self.unsorted, "out of order"),
            (self.overlapping, "overlapping"),
            (self.wrapping, "wrapping past 2^64"),
            (self.clamped, "truncated at 2^52"),
            (self.out_of_range, "beyond 2^52"),
            (self.truncated.regions, "reserved dropped (map full)"),
        ];
        for (count, what) in corrections.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        match self.truncated.usable_bytes {
            0 => Ok(()),
            bytes => write!(f, ", up to {bytes} usable bytes dropped (map full)"),
        }
    }
}
