//! The walk over all entries: [`audit`]. It is pure: it sees the tables only through a function that reads an entry.

use x86_64::structures::paging::PageTableFlags as Flags;

use super::inventory::{Inventory, Pages};
use super::policy::{MappingPolicy, Rights, Run};
use super::rule::{Rule, Violation};
use crate::boot::memory_map::PhysRange;
use crate::memory::paging::entry::{MemoryType, span};
use crate::memory::paging::walk::{Step, walk};

/// Checks all mappings of the tree at `root`. `guards` are the addresses of pages that must not be mapped, in ascending order.
/// `read_entry` returns the entry of a table, by the table's physical address and an index below 512.
///
/// # Errors
/// The violation at the lowest address.
pub(crate) fn audit(
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
    /// Executable bytes of the image so far.
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
        let (first, end) = self.policy.mappings;
        if (first..end).contains(&address) && entry.has(Flags::GLOBAL) {
            return Err(Violation { address, rule: Rule::GlobalMapping });
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

    /// Checks the run that has ended, and counts it.
    fn end_run(&mut self) -> Result<(), Violation> {
        let Some(run) = self.run.take() else { return Ok(()) };
        let last = run.virt + (run.physical.len() - 1);
        while self.guards.next_if(|guard| *guard < run.virt).is_some() {}
        if let Some(guard) = self.guards.next_if(|guard| *guard <= last) {
            return Err(Violation { address: guard, rule: Rule::GuardMapped });
        }
        self.policy.check_run(&run)?;
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
        if rights.access.executable
            && self.policy.text.start <= run.physical.start
            && run.physical.end <= self.policy.text.end
        {
            self.text_bytes += run.physical.len();
        }
        Ok(())
    }
}
