//! Is the house locked? A walk of page tables that holds every mapping against the rules that it must keep.
//!
//! The core is pure: it sees tables only through a function that reads an entry, and what it is to expect in [`MappingPolicy`].
//! It trusts nothing that built the tables, so it asks of each mapping what can be done with it and what it leads to, not
//! whether somebody meant it. Neighbouring pages with the same rights become one `Run` before they are judged: the cost
//! is one look at each entry, and terabytes in large pages are a handful of runs.

use super::paging::entry::{ADDRESS, LARGE, LARGE_PAT, NO_EXECUTE, PRESENT, USER, WRITABLE};
use crate::boot::memory_map::{PhysRange, Region};
use crate::boot::windows::Windows;

mod judge;
#[cfg(target_os = "none")]
mod live;
mod rule;
#[cfg(test)]
mod tests;

#[cfg(target_os = "none")]
pub(crate) use live::audit_live;
pub use rule::{Rule, Violation};

/// Entries of a table, and bytes of a page.
const ENTRIES: usize = 512;
const PAGE: u64 = 4096;

/// The upper half of four-level paging.
const UPPER_HALF: u64 = 0xffff_8000_0000_0000;

/// A memory type as the PAT encodes it (SDM Vol. 3A, table 12-10).
const WRITE_BACK: u8 = 6;

/// What the tables are held against.
#[derive(Clone, Copy, Debug)]
pub struct MappingPolicy<'a> {
    /// Where physical address 0 is seen.
    pub direct_map_base: u64,
    /// The addresses of the region that holds the CPUs' stacks: a place beside the direct map.
    pub stacks: (u64, u64),
    /// The addresses of the region for temporary mappings.
    pub temporary: (u64, u64),
    /// The image's code.
    pub text: PhysRange,
    /// The image's constants.
    pub constants: PhysRange,
    /// Memory that nothing may write any more, though it is not among the constants, and the rule that says so.
    pub read_only: &'a [(PhysRange, Rule)],
    /// The memory map.
    pub regions: &'a [Region],
    /// What is mapped beside memory.
    pub windows: &'a Windows,
    /// The page attribute table that turns an entry's bits into a memory type.
    pub pat: u64,
    /// Whether the processor has 1 GiB pages.
    pub pages_1g: bool,
}

/// Pages of each size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// Of 4 KiB, 2 MiB and 1 GiB.
    pub by_size: [u64; 3],
}

/// What the walk has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Frames that hold page tables, the root among them.
    pub tables: u64,
    /// Runs of neighbouring pages with the same rights.
    pub runs: u64,
    /// Executable pages.
    pub text: Pages,
    /// Pages that can only be read.
    pub constants: Pages,
    /// Pages that can be written.
    pub data: Pages,
    /// Pages that are written past the caches.
    pub device: Pages,
}

/// What can be done with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rights {
    writable: bool,
    executable: bool,
    user: bool,
    memory_type: u8,
}

/// Neighbours, in addresses and in memory, with the same rights.
#[derive(Clone, Copy, Debug)]
struct Run {
    virt: u64,
    physical: PhysRange,
    rights: Rights,
    pages: Pages,
}

/// Walks the tree with that root. `guards` are the addresses of pages that must not be mapped, in ascending order;
/// `read_entry` gives a table's entry by the table's physical address and an index below 512.
///
/// # Errors
/// The first rule found broken, by address.
pub fn audit(
    root: u64,
    house: &MappingPolicy<'_>,
    guards: impl Iterator<Item = u64>,
    read_entry: impl Fn(u64, usize) -> u64,
) -> Result<Inventory, Violation> {
    let inventory = Inventory { tables: 1, ..Inventory::default() };
    let mut walk = Walk { house, guards: guards.peekable(), read_entry, run: None, inventory, text_bytes: 0 };
    walk.table(root, 4, 0, Rights { writable: true, executable: true, user: true, memory_type: 0 })?;
    walk.end_run()?;
    if walk.text_bytes != house.text.len() {
        return Err(Violation { address: house.virt(house.text.start), rule: Rule::TextMissing });
    }
    Ok(walk.inventory)
}

struct Walk<'a, G: Iterator<Item = u64>, R> {
    house: &'a MappingPolicy<'a>,
    guards: core::iter::Peekable<G>,
    read_entry: R,
    run: Option<Run>,
    inventory: Inventory,
    /// Executable bytes so far, all of them text.
    text_bytes: u64,
}

impl<G: Iterator<Item = u64>, R: Fn(u64, usize) -> u64> Walk<'_, G, R> {
    /// A table of that level, which begins at `start`; `above` is what the entries on the way to it allow.
    fn table(&mut self, at: u64, level: u8, start: u64, above: Rights) -> Result<(), Violation> {
        let span = PAGE << (9 * (u32::from(level) - 1));
        for index in 0..ENTRIES {
            let entry = (self.read_entry)(at, index);
            if entry & PRESENT == 0 {
                continue;
            }
            let mut virt = start + index as u64 * span;
            if level == 4 && index >= ENTRIES / 2 {
                virt |= UPPER_HALF;
            }
            let is_large = level > 1 && entry & LARGE != 0;
            let allowed = level < 3 || level == 3 && self.house.pages_1g;
            if is_large && !allowed {
                return Err(Violation { address: virt, rule: Rule::Malformed });
            }
            let rights = Rights {
                writable: above.writable && entry & WRITABLE != 0,
                executable: above.executable && entry & NO_EXECUTE == 0,
                user: above.user && entry & USER != 0,
                memory_type: self.house.memory_type(entry, is_large),
            };
            if level > 1 && !is_large {
                let table = entry & ADDRESS;
                if !self.house.is_memory(table) {
                    return Err(Violation { address: virt, rule: Rule::TableOutsideMemory { table } });
                }
                self.inventory.tables += 1;
                self.table(table, level - 1, virt, rights)?;
                continue;
            }
            let physical = entry & ADDRESS & if is_large { !LARGE_PAT } else { !0 };
            if !physical.is_multiple_of(span) {
                return Err(Violation { address: virt, rule: Rule::Malformed });
            }
            self.page(virt, PhysRange::new(physical, physical + span), rights, level)?;
        }
        Ok(())
    }

    fn page(&mut self, virt: u64, physical: PhysRange, rights: Rights, level: u8) -> Result<(), Violation> {
        let size = usize::from(level) - 1;
        if let Some(run) = &mut self.run
            && run.rights == rights
            && run.physical.end == physical.start
            && run.virt.wrapping_add(run.physical.len()) == virt
        {
            run.physical.end = physical.end;
            run.pages.by_size[size] += 1;
            return Ok(());
        }
        self.end_run()?;
        let mut pages = Pages::default();
        pages.by_size[size] = 1;
        self.run = Some(Run { virt, physical, rights, pages });
        Ok(())
    }

    /// Judges the run that has just ended, and counts it.
    fn end_run(&mut self) -> Result<(), Violation> {
        let Some(run) = self.run.take() else { return Ok(()) };
        let last = run.virt + (run.physical.len() - 1);
        while self.guards.next_if(|guard| *guard < run.virt).is_some() {}
        if let Some(guard) = self.guards.next_if(|guard| *guard <= last) {
            return Err(Violation { address: guard, rule: Rule::GuardMapped });
        }
        self.house.judge(&run)?;
        let rights = run.rights;
        let count = match () {
            () if rights.executable => &mut self.inventory.text,
            () if rights.memory_type != WRITE_BACK => &mut self.inventory.device,
            () if rights.writable => &mut self.inventory.data,
            () => &mut self.inventory.constants,
        };
        for (sum, pages) in count.by_size.iter_mut().zip(run.pages.by_size) {
            *sum += pages;
        }
        self.inventory.runs += 1;
        if rights.executable {
            self.text_bytes += run.physical.len();
        }
        Ok(())
    }
}

impl Pages {
    /// The fewest pages that show a range where it lies.
    fn fewest(range: PhysRange, pages_1g: bool) -> Pages {
        let inner = |size: u64| (range.end / size).saturating_sub(range.start.div_ceil(size)) * size;
        let (in_2m, in_1g) = (inner(PAGE << 9), if pages_1g { inner(PAGE << 18) } else { 0 });
        let by_size = [(range.len() - in_2m) / PAGE, (in_2m - in_1g) / (PAGE << 9), in_1g / (PAGE << 18)];
        Pages { by_size }
    }
}
