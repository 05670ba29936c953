//! Is the house locked? A walk of page tables that holds every mapping against the rules that it must keep.
//!
//! The core is pure: it sees tables only through a function that reads an entry, and what it is to expect in [`MappingPolicy`].
//! It trusts nothing that built the tables, so it asks of each mapping what can be done with it and what it leads to, not
//! whether somebody meant it. Neighbouring pages with the same rights become one `Run` before they are judged: the cost
//! is one look at each entry, and terabytes in large pages are a handful of runs.

use super::paging::entry::{MemoryType, span};
use super::paging::walk::{Access, Step, walk};
use crate::boot::memory_map::{PhysRange, Region};
use crate::boot::windows::Windows;
use crate::cpu::PAGE_BYTES;

mod judge;
#[cfg(target_os = "none")]
mod live;
mod rule;
#[cfg(test)]
mod tests;

#[cfg(target_os = "none")]
pub(crate) use live::audit_live;
pub use rule::{Rule, Violation};

/// Bytes of a page.
const PAGE: u64 = PAGE_BYTES as u64;

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
    access: Access,
    memory_type: MemoryType,
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
    policy: &MappingPolicy<'_>,
    guards: impl Iterator<Item = u64>,
    read_entry: impl Fn(u64, usize) -> u64,
) -> Result<Inventory, Violation> {
    let inventory = Inventory { tables: 1, ..Inventory::default() };
    let mut audit = Audit { policy, guards: guards.peekable(), run: None, inventory, text_bytes: 0 };
    walk(root, 0..=u64::MAX, &read_entry, &mut |step| audit.entry(step))?;
    audit.end_run()?;
    if audit.text_bytes != policy.text.len() {
        return Err(Violation { address: policy.virt(policy.text.start), rule: Rule::TextMissing });
    }
    Ok(audit.inventory)
}

struct Audit<'a, G: Iterator<Item = u64>> {
    policy: &'a MappingPolicy<'a>,
    guards: core::iter::Peekable<G>,
    run: Option<Run>,
    inventory: Inventory,
    /// Executable bytes so far, all of them text.
    text_bytes: u64,
}

impl<G: Iterator<Item = u64>> Audit<'_, G> {
    /// Checks an entry by itself. Pages with the same rights are collected into runs.
    fn entry(&mut self, step: &Step) -> Result<(), Violation> {
        let Step { level, entry, address, access, .. } = *step;
        if !step.is_present() {
            return Ok(());
        }
        if !step.is_page() {
            let table = entry.address();
            if !self.policy.is_memory(table) {
                return Err(Violation { address, rule: Rule::TableOutsideMemory { table } });
            }
            self.inventory.tables += 1;
            return Ok(());
        }
        let is_allowed = level < 3 || level == 3 && self.policy.pages_1g;
        let physical = entry.page_address(level);
        if !is_allowed || !physical.is_multiple_of(span(level)) {
            return Err(Violation { address, rule: Rule::Malformed });
        }
        let memory_type = MemoryType::of(self.policy.pat, entry.pat_index(level));
        let range = PhysRange::new(physical, physical + span(level));
        self.page(address, range, Rights { access, memory_type }, level)
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
        self.policy.judge(&run)?;
        let rights = run.rights;
        let count = match () {
            () if rights.access.executable => &mut self.inventory.text,
            () if rights.memory_type != MemoryType::WRITE_BACK => &mut self.inventory.device,
            () if rights.access.writable => &mut self.inventory.data,
            () => &mut self.inventory.constants,
        };
        for (sum, pages) in count.by_size.iter_mut().zip(run.pages.by_size) {
            *sum += pages;
        }
        self.inventory.runs += 1;
        if rights.access.executable {
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
