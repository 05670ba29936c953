//! Counts of what the audit has seen: [`Inventory`].

use crate::boot::memory_map::{FRAME_BYTES, PhysRange};

/// Pages of each size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pages {
    /// Of 4 KiB, 2 MiB and 1 GiB.
    pub by_size: [u64; 3],
}

/// The counts of the audit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inventory {
    /// Frames that hold page tables, the root included.
    pub tables: u64,
    /// Runs of adjacent pages with the same rights.
    pub runs: u64,
    /// Executable pages.
    pub text: Pages,
    /// Read-only pages.
    pub constants: Pages,
    /// Writable pages of memory.
    pub data: Pages,
    /// Pages that are not write-back: device registers and framebuffers.
    pub device: Pages,
}

impl Pages {
    /// The fewest pages that map a physical range at an address with the same alignment.
    pub(super) fn fewest(range: PhysRange, pages_1g: bool) -> Pages {
        let inner = |size: u64| (range.end / size).saturating_sub(range.start.div_ceil(size)) * size;
        let (in_2m, in_1g) = (inner(FRAME_BYTES << 9), if pages_1g { inner(FRAME_BYTES << 18) } else { 0 });
        let by_size = [
            (range.len() - in_2m) / FRAME_BYTES,
            (in_2m - in_1g) / (FRAME_BYTES << 9),
            in_1g / (FRAME_BYTES << 18),
        ];
        Pages { by_size }
    }
}
