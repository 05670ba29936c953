//! One address's way through page tables, level by level, as a processor goes it (SDM Vol. 3A, 4.5.4).
//!
//! The walk is pure: it sees tables only through a function that reads an entry. `walk_live` goes through those that this
//! CPU uses.

use super::entry::{
    ADDRESS, GLOBAL, LARGE, LARGE_PAT, NO_CACHE, NO_EXECUTE, PRESENT, SMALL_PAT, USER, WRITABLE,
    WRITE_THROUGH,
};

/// Levels of tables.
pub const LEVELS: usize = 4;

/// An entry on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The table's level, 4 for the root's.
    pub level: u8,
    /// The table, physical.
    pub table: u64,
    /// The entry's place in it.
    pub index: u16,
    /// The entry as it is in memory.
    pub entry: u64,
}

/// The page at the end of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// What the address leads to, physical.
    pub physical: u64,
    /// The page's size.
    pub bytes: u64,
    /// Whether every entry on the way lets it be written.
    pub writable: bool,
    /// Whether every entry lets it be executed.
    pub executable: bool,
    /// Whether every entry lets code of ring 3 at it.
    pub user: bool,
    /// Whether it outlives a change of CR3 in the TLB.
    pub global: bool,
    /// The entry of the page attribute table that it names.
    pub pat_entry: u8,
    /// The memory type there (SDM Vol. 3A, table 12-10).
    pub memory_type: u8,
}

/// A way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    steps: [Step; LEVELS],
    count: usize,
    /// The page, if one is mapped.
    pub page: Option<Page>,
}

impl Walk {
    /// The entries on the way, the root's first; the last one is the page's, or not present.
    pub fn steps(&self) -> &[Step] {
        &self.steps[..self.count]
    }
}

/// Whether bits 63 to 47 are all alike, as they must be with four levels (SDM Vol. 1, 3.3.7.1).
pub fn is_canonical(address: u64) -> bool {
    matches!(address >> 47, 0 | 0x1_ffff)
}

/// Goes through the tree with that root. `pat` is the page attribute table; `read_entry` gives a table's entry by the
/// table's physical address and an index below 512.
pub fn walk(root: u64, address: u64, pat: u64, read_entry: impl Fn(u64, usize) -> u64) -> Walk {
    let mut walk = Walk { steps: [Step::default(); LEVELS], count: 0, page: None };
    let (mut table, mut allowed, mut denied) = (root, WRITABLE | USER, 0);
    for level in (1..=LEVELS as u8).rev() {
        let shift = 12 + 9 * (u32::from(level) - 1);
        let index = (address >> shift) as usize % 512;
        let entry = read_entry(table, index);
        walk.steps[walk.count] = Step { level, table, index: index as u16, entry };
        walk.count += 1;
        if entry & PRESENT == 0 {
            return walk;
        }
        allowed &= entry;
        denied |= entry & NO_EXECUTE;
        if level > 1 && entry & LARGE == 0 {
            table = entry & ADDRESS;
            continue;
        }
        let within = (1u64 << shift) - 1;
        let pat_bit = if level == 1 { SMALL_PAT } else { LARGE_PAT };
        let is_set = |bit: u64| entry & bit != 0;
        let pat_entry = u8::from(is_set(WRITE_THROUGH))
            | u8::from(is_set(NO_CACHE)) << 1
            | u8::from(is_set(pat_bit)) << 2;
        walk.page = Some(Page {
            physical: entry & ADDRESS & !within | address & within,
            bytes: within + 1,
            writable: allowed & WRITABLE != 0,
            executable: denied == 0,
            user: allowed & USER != 0,
            global: is_set(GLOBAL),
            pat_entry,
            memory_type: (pat >> (8 * pat_entry)) as u8 & 7,
        });
        return walk;
    }
    walk
}

/// The name of a memory type, as manuals write it.
pub const fn memory_type_name(memory_type: u8) -> &'static str {
    match memory_type {
        0 => "UC",
        1 => "WC",
        4 => "WT",
        5 => "WP",
        6 => "WB",
        7 => "UC-",
        _ => "reserved",
    }
}

/// Goes through the tables that this CPU uses. Holds the tables' lock; not from an NMI.
#[cfg(target_os = "none")]
pub fn walk_live(address: u64) -> Walk {
    use crate::cpu::Controls;
    let controls = Controls::read();
    let _tables = super::kernel::tables().lock();
    walk(controls.cr3 & Controls::CR3_ADDRESS, address, controls.pat, |table, index| {
        // SAFETY: a table of the live tree, as the audit has found each to be, and the lock keeps it one.
        unsafe { super::tables::entry_of(table, index) }.load(core::sync::atomic::Ordering::Relaxed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAT: u64 = 0x0007_0106_0007_0406;

    /// Tables at 0x1000, 0x2000 and so on, one for each level from the root's down, with one entry each.
    fn way(address: u64, entries: &[u64]) -> Walk {
        let read = |table: u64, index: usize| {
            let depth = (table / 0x1000 - 1) as usize;
            let shift = 39 - 9 * depth;
            if (address >> shift) as usize % 512 == index { entries[depth] } else { 0 }
        };
        walk(0x1000, address, PAT, read)
    }

    const BELOW: [u64; 3] = [0x2000 | 3, 0x3000 | 3, 0x4000 | 3];

    #[test]
    fn each_size_of_page_is_reached() {
        let address = 0xffff_8123_4567_89ab;
        let small = way(address, &[BELOW[0], BELOW[1], BELOW[2], 0x7_7000 | 0x103]);
        let levels: Vec<_> = small.steps().iter().map(|step| (step.level, step.table)).collect();
        assert_eq!(levels, [(4, 0x1000), (3, 0x2000), (2, 0x3000), (1, 0x4000)]);
        let page = small.page.unwrap();
        assert_eq!((page.physical, page.bytes, page.global), (0x7_79ab, 4096, true));
        let large = way(address, &[BELOW[0], BELOW[1], 0x4000_0000 | LARGE | 3]).page.unwrap();
        assert_eq!((large.physical, large.bytes), (0x4000_0000 | 0x0167_89ab & 0x1f_ffff, 2 << 20));
        let huge = way(address, &[BELOW[0], 0x8000_0000 | LARGE | 3]).page.unwrap();
        assert_eq!((huge.physical, huge.bytes), (0x8000_0000 | address & 0x3fff_ffff, 1 << 30));
    }

    #[test]
    fn a_way_that_ends_is_shown_as_far_as_it_goes() {
        let walk = way(0x1000, &[BELOW[0], 0xdead_0000]);
        assert_eq!((walk.steps().len(), walk.page), (2, None));
        assert_eq!(walk.steps()[1].entry, 0xdead_0000);
    }

    #[test]
    fn what_one_level_denies_is_denied() {
        let leaf = 0x5000 | 7;
        for (level, taken) in [(0, WRITABLE), (1, USER), (2, WRITABLE), (3, USER)] {
            let mut entries = [BELOW[0] | USER, BELOW[1] | USER, BELOW[2] | USER, leaf];
            entries[level] &= !taken;
            let page = way(0, &entries).page.unwrap();
            assert_eq!((page.writable, page.user), (taken != WRITABLE, taken != USER), "{level}");
            entries[level] |= NO_EXECUTE;
            assert!(page.executable && !way(0, &entries).page.unwrap().executable);
        }
    }

    #[test]
    fn the_memory_type_comes_from_the_table_of_attributes() {
        let name = |entries: &[u64]| memory_type_name(way(0, entries).page.unwrap().memory_type);
        let small = |bits: u64| name(&[BELOW[0], BELOW[1], BELOW[2], 0x5000 | 1 | bits]);
        assert_eq!(
            [small(0), small(WRITE_THROUGH), small(NO_CACHE), small(NO_CACHE | WRITE_THROUGH)],
            ["WB", "WT", "UC-", "UC"]
        );
        assert_eq!(small(SMALL_PAT | WRITE_THROUGH), "WC");
        assert_eq!(name(&[BELOW[0], BELOW[1], LARGE | LARGE_PAT | WRITE_THROUGH | 1]), "WC");
    }

    #[test]
    fn half_of_all_bits_alike_is_canonical() {
        assert!([0, 0x7fff_ffff_ffff, 0xffff_8000_0000_0000, u64::MAX].into_iter().all(is_canonical));
        assert!([0x8000_0000_0000, 0xffff_7fff_ffff_ffff, 1 << 63].into_iter().all(|a| !is_canonical(a)));
    }
}
