//! Page-table entries (SDM Vol. 3A, 4.5, tables 4-15 to 4-20), and the memory type that it selects.

use x86_64::structures::paging::PageTableFlags as Flags;

/// Entries in a table.
pub(crate) const ENTRIES: usize = 512;
/// Levels of tables: four-level paging.
pub(crate) const LEVELS: u8 = 4;

/// The physical address in an entry.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// The highest bit of the PAT index in an entry of the lowest level. In an entry of a higher level it makes a large page.
pub(crate) const SMALL_PAGE_PAT: Flags = Flags::HUGE_PAGE;
/// The highest bit of the PAT index in the entry of a large page. It is the lowest bit of its address field.
pub(crate) const LARGE_PAGE_PAT: u64 = 1 << 12;

/// Bytes that an entry of a table of that level spans: 4 KiB at level 1, 2 MiB, 1 GiB, 512 GiB at level 4.
pub(crate) const fn span(level: u8) -> u64 {
    1 << (12 + 9 * (level as u64 - 1))
}

/// The index of an address's entry in a table of that level.
pub(crate) const fn index(address: u64, level: u8) -> usize {
    ((address / span(level)) % ENTRIES as u64) as usize
}

/// A page-table entry, as it was at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Entry(pub u64);

impl Entry {
    /// An entry that leads to a physical address.
    pub(crate) const fn new(physical: u64, flags: Flags) -> Entry {
        Entry(physical & ADDRESS | flags.bits())
    }

    /// Whether all bits are zero.
    pub(crate) const fn is_unused(self) -> bool {
        self.0 == 0
    }

    /// Whether one of these bits is set.
    pub(crate) const fn has(self, flags: Flags) -> bool {
        self.0 & flags.bits() != 0
    }

    /// Whether an entry of that level maps a page, if it is present.
    pub(crate) const fn is_page(self, level: u8) -> bool {
        level == 1 || self.has(Flags::HUGE_PAGE)
    }

    /// The physical address of the table to which it leads, or of its page of 4 KiB.
    pub(crate) const fn address(self) -> u64 {
        self.0 & ADDRESS
    }

    /// The physical address of its page, if it is a page's entry of that level. It need not be aligned to the page's size.
    pub(crate) const fn page_address(self, level: u8) -> u64 {
        if level > 1 { self.address() & !LARGE_PAGE_PAT } else { self.address() }
    }

    /// The index into the PAT that a page's entry of that level selects (SDM Vol. 3A, 12.12.3).
    pub(crate) const fn pat_index(self, level: u8) -> u8 {
        let pat_bit = if level > 1 { LARGE_PAGE_PAT } else { SMALL_PAGE_PAT.bits() };
        self.has(Flags::WRITE_THROUGH) as u8
            | (self.has(Flags::NO_CACHE) as u8) << 1
            | ((self.0 & pat_bit != 0) as u8) << 2
    }
}

/// A memory type, by its encoding in the PAT (SDM Vol. 3A, table 12-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryType(u8);

impl MemoryType {
    /// Strong uncacheable.
    pub(crate) const UNCACHEABLE: MemoryType = MemoryType(0);
    /// Write-combining.
    pub(crate) const WRITE_COMBINING: MemoryType = MemoryType(1);
    /// Write-back.
    pub(crate) const WRITE_BACK: MemoryType = MemoryType(6);

    /// Entry `index`, 0 to 7, of a page attribute table.
    pub(crate) const fn of(pat: u64, index: u8) -> MemoryType {
        MemoryType((pat >> (8 * index)) as u8 & 7)
    }

    /// Its abbreviation in the manuals.
    pub(crate) const fn name(self) -> &'static str {
        match self.0 {
            0 => "UC",
            1 => "WC",
            4 => "WT",
            5 => "WP",
            6 => "WB",
            7 => "UC-",
            _ => "reserved",
        }
    }
}
