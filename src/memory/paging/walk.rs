//! The walk of page tables, level by level, as a processor goes (SDM Vol. 3A, 4.5.4).
//!
//! There is one walker, [`walk`]. The audit, the shell's `mem tables` ([`translate`]) and
//! [`PageTables`](super::tables::PageTables) differ in what they do with the entries that it reads. It is pure: it sees the
//! tables only through a function that reads an entry.

use core::convert::Infallible;
use core::ops::RangeInclusive;

use heapless::Vec;
use x86_64::structures::paging::PageTableFlags as Flags;

use super::entry::{ENTRIES, Entry, LEVELS, MemoryType, index, span};
use crate::cpu::UPPER_HALF;

/// The rights of an entry together with those of the upper levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// Whether each of them allows writes.
    pub writable: bool,
    /// Whether each of them allows execution.
    pub executable: bool,
    /// Whether each of them allows access from ring 3.
    pub user: bool,
}

impl Access {
    /// The rights of the root: all.
    const ALL: Access = Access { writable: true, executable: true, user: true };

    fn and(self, entry: Entry) -> Access {
        Access {
            writable: self.writable && entry.has(Flags::WRITABLE),
            executable: self.executable && !entry.has(Flags::NO_EXECUTE),
            user: self.user && entry.has(Flags::USER_ACCESSIBLE),
        }
    }
}

/// An entry that a walk has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The level of its table, 4 for the root.
    pub level: u8,
    /// The physical address of its table.
    pub table: u64,
    /// Its index in the table.
    pub index: usize,
    /// The first virtual address that it spans.
    pub address: u64,
    /// The entry.
    pub entry: Entry,
    /// Its rights, if it is present, together with those of the upper levels.
    pub access: Access,
}

impl Step {
    /// Whether the entry is present.
    pub(crate) const fn is_present(&self) -> bool {
        self.entry.has(Flags::PRESENT)
    }

    /// Whether the entry maps a page.
    pub(crate) const fn is_page(&self) -> bool {
        self.is_present() && self.entry.is_page(self.level)
    }
}

/// Reads the entries of the tree at `root` that translate these canonical addresses, in ascending order, and calls `visit` with
/// each: first with the entry that leads to a table, then with that table's entries. `read_entry` returns the entry of a table, by
/// the table's physical address and an index below 512.
///
/// # Errors
/// The first error of `visit`, which ends the walk. A table is not read if `visit` has refused the entry that leads to it.
pub(crate) fn walk<E>(
    root: u64,
    addresses: RangeInclusive<u64>,
    read_entry: &impl Fn(u64, usize) -> u64,
    visit: &mut impl FnMut(&Step) -> Result<(), E>,
) -> Result<(), E> {
    let root = Table { physical: root, level: LEVELS, start: 0, access: Access::ALL };
    walk_table(root, *addresses.start(), *addresses.end(), read_entry, visit)
}

struct Table {
    physical: u64,
    level: u8,
    /// The first virtual address that it spans.
    start: u64,
    access: Access,
}

/// Walks a table from `first` to `last`, both of which it spans.
fn walk_table<E>(
    table: Table,
    first: u64,
    last: u64,
    read_entry: &impl Fn(u64, usize) -> u64,
    visit: &mut impl FnMut(&Step) -> Result<(), E>,
) -> Result<(), E> {
    let Table { physical, level, start, access } = table;
    for index in index(first, level)..=index(last, level) {
        let entry = Entry(read_entry(physical, index));
        let mut address = start + index as u64 * span(level);
        if level == LEVELS && index >= ENTRIES / 2 {
            address |= UPPER_HALF;
        }
        let step = Step { level, table: physical, index, address, entry, access: access.and(entry) };
        visit(&step)?;
        if step.is_present() && !step.is_page() {
            let below =
                Table { physical: entry.address(), level: level - 1, start: address, access: step.access };
            let end = address + (span(level) - 1);
            walk_table(below, first.max(address), last.min(end), read_entry, visit)?;
        }
    }
    Ok(())
}

/// Reads the entries that translate one address, in the order of [`walk`].
pub(crate) fn walk_address(
    root: u64,
    address: u64,
    read_entry: &impl Fn(u64, usize) -> u64,
    mut visit: impl FnMut(&Step),
) {
    let Ok(()) = walk::<Infallible>(root, address..=address, read_entry, &mut |step| {
        visit(step);
        Ok(())
    });
}

/// The page that an address lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The physical address behind the address.
    pub physical: u64,
    /// The page's size in bytes.
    pub bytes: u64,
    /// Its rights.
    pub access: Access,
    /// Whether its TLB entries survive a load of CR3.
    pub global: bool,
    /// The index into the PAT that its entry selects.
    pub pat_index: u8,
    /// The memory type of that PAT entry.
    pub memory_type: MemoryType,
}

/// The translation of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Translation {
    /// The entries on the way, the root's first. The last one maps the page, or is not present.
    pub steps: Vec<Step, { LEVELS as usize }>,
    /// The page, if one is mapped.
    pub page: Option<Page>,
}

/// Translates an address by the tree at `root`. `pat` is the page attribute table; `read_entry` is as for [`walk`].
pub(crate) fn translate(
    root: u64,
    address: u64,
    pat: u64,
    read_entry: &impl Fn(u64, usize) -> u64,
) -> Translation {
    let mut translation = Translation { steps: Vec::new(), page: None };
    walk_address(root, address, read_entry, |step| {
        // There is room: a walk of one address reads one entry of each level.
        let _ = translation.steps.push(*step);
        if step.is_page() {
            let within = span(step.level) - 1;
            let pat_index = step.entry.pat_index(step.level);
            translation.page = Some(Page {
                physical: step.entry.address() & !within | address & within,
                bytes: span(step.level),
                access: step.access,
                global: step.entry.has(Flags::GLOBAL),
                pat_index,
                memory_type: MemoryType::of(pat, pat_index),
            });
        }
    });
    translation
}

/// Whether an address is canonical: bits 63 to 47 are equal, as four-level paging demands (SDM Vol. 1, 3.3.7.1).
pub(crate) fn is_canonical(address: u64) -> bool {
    matches!(address >> 47, 0 | 0x1_ffff)
}

#[cfg(test)]
mod tests {
    use super::super::entry::{LARGE_PAGE_PAT, SMALL_PAGE_PAT};
    use super::*;
    use crate::cpu::pat;

    const WRITABLE: u64 = Flags::WRITABLE.bits();
    const USER: u64 = Flags::USER_ACCESSIBLE.bits();
    const NO_EXECUTE: u64 = Flags::NO_EXECUTE.bits();
    const WRITE_THROUGH: u64 = Flags::WRITE_THROUGH.bits();
    const NO_CACHE: u64 = Flags::NO_CACHE.bits();
    const LARGE: u64 = Flags::HUGE_PAGE.bits();

    /// Tables at 0x1000, 0x2000 and so on, one for each level from the root's down, with one entry each.
    fn way(address: u64, entries: &[u64]) -> Translation {
        let read = |table: u64, index: usize| {
            let depth = (table / 0x1000 - 1) as usize;
            let shift = 39 - 9 * depth;
            if (address >> shift) as usize % 512 == index { entries[depth] } else { 0 }
        };
        translate(0x1000, address, pat::KERNEL, &read)
    }

    const BELOW: [u64; 3] = [0x2000 | 3, 0x3000 | 3, 0x4000 | 3];

    #[test]
    fn each_size_of_page_is_reached() {
        let address = 0xffff_8123_4567_89ab;
        let small = way(address, &[BELOW[0], BELOW[1], BELOW[2], 0x7_7000 | 0x103]);
        let levels: Vec<_, 4> = small.steps.iter().map(|step| (step.level, step.table)).collect();
        assert_eq!(levels, [(4, 0x1000), (3, 0x2000), (2, 0x3000), (1, 0x4000)]);
        let page = small.page.unwrap();
        assert_eq!((page.physical, page.bytes, page.global), (0x7_79ab, 4096, true));
        let large = way(address, &[BELOW[0], BELOW[1], 0x4000_0000 | LARGE | 3]).page.unwrap();
        assert_eq!((large.physical, large.bytes), (0x4000_0000 | 0x0167_89ab & 0x1f_ffff, 2 << 20));
        let huge = way(address, &[BELOW[0], 0x8000_0000 | LARGE | 3]).page.unwrap();
        assert_eq!((huge.physical, huge.bytes), (0x8000_0000 | address & 0x3fff_ffff, 1 << 30));
    }

    #[test]
    fn a_walk_that_ends_early_has_the_entries_up_to_there() {
        let walk = way(0x1000, &[BELOW[0], 0xdead_0000]);
        assert_eq!((walk.steps.len(), walk.page), (2, None));
        assert_eq!(walk.steps[1].entry.0, 0xdead_0000);
    }

    #[test]
    fn a_walk_of_a_range_reads_its_entries_alone_in_ascending_order() {
        // Each table is full of entries: the first four lead to the next table, the others are not present.
        let read = |table: u64, index: usize| {
            let below = table + 0x1000;
            if (4..510).contains(&index) { 0 } else { below | 3 }
        };
        let seen = |addresses: RangeInclusive<u64>| {
            let mut pages = std::vec::Vec::new();
            let Ok(()) = walk::<Infallible>(0x1000, addresses, &read, &mut |step| {
                if step.is_page() {
                    assert_eq!(step.level, 1);
                    pages.push(step.address);
                }
                Ok(())
            });
            pages
        };
        assert_eq!(seen(0x1000..=0x2fff), [0x1000, 0x2000]);
        assert_eq!(seen(0x3000..=0x1f_dfff), [0x3000], "the entries 4 to 509 are not present");
        assert_eq!(seen(0x1f_f000..=0x20_0000), [0x1f_f000, 0x20_0000], "across two tables");
        let last = 0xffff_ffff_ffff_f000;
        assert_eq!(seen(last..=u64::MAX), [last]);
        let all = seen(0..=u64::MAX);
        assert_eq!(all.len(), 6usize.pow(4));
        assert!(all.is_sorted() && all.iter().all(|address| is_canonical(*address)));
    }

    #[test]
    fn what_one_level_denies_is_denied() {
        let leaf = 0x5000 | 7;
        for (level, taken) in [(0, WRITABLE), (1, USER), (2, WRITABLE), (3, USER)] {
            let mut entries = [BELOW[0] | USER, BELOW[1] | USER, BELOW[2] | USER, leaf];
            entries[level] &= !taken;
            let access = way(0, &entries).page.unwrap().access;
            assert_eq!((access.writable, access.user), (taken != WRITABLE, taken != USER), "{level}");
            entries[level] |= NO_EXECUTE;
            assert!(access.executable && !way(0, &entries).page.unwrap().access.executable);
        }
    }

    #[test]
    fn the_memory_type_comes_from_the_page_attribute_table() {
        let name = |entries: &[u64]| way(0, entries).page.unwrap().memory_type.name();
        let small = |bits: u64| name(&[BELOW[0], BELOW[1], BELOW[2], 0x5000 | 1 | bits]);
        assert_eq!(
            [small(0), small(WRITE_THROUGH), small(NO_CACHE), small(NO_CACHE | WRITE_THROUGH)],
            ["WB", "WT", "UC-", "UC"]
        );
        assert_eq!(small(SMALL_PAGE_PAT.bits() | WRITE_THROUGH), "WC");
        assert_eq!(name(&[BELOW[0], BELOW[1], LARGE | LARGE_PAGE_PAT | WRITE_THROUGH | 1]), "WC");
    }

    #[test]
    fn an_address_whose_upper_bits_are_equal_is_canonical() {
        assert!([0, 0x7fff_ffff_ffff, 0xffff_8000_0000_0000, u64::MAX].into_iter().all(is_canonical));
        assert!([0x8000_0000_0000, 0xffff_7fff_ffff_ffff, 1 << 63].into_iter().all(|a| !is_canonical(a)));
    }
}
