//! The rules for a run of pages: [`MappingPolicy`].

use super::inventory::Pages;
use super::rule::{Rule, Violation};
use crate::boot::io_regions::{IoRegion, IoRegions};
use crate::boot::memory_map::{FRAME_BYTES, PhysRange, Region};
use crate::cpu::UPPER_HALF;
use crate::memory::paging::entry::MemoryType;
use crate::memory::paging::walk::Access;

/// The rules for each mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MappingPolicy<'a> {
    /// The address at which the direct map has physical address 0.
    pub direct_map_base: u64,
    /// The region of the CPUs' stacks, above the direct map: first address and end.
    pub stacks: (u64, u64),
    /// The region of mappings: first address and end.
    pub mappings: (u64, u64),
    /// The image's code, physical.
    pub text: PhysRange,
    /// The image's constants, physical.
    pub constants: PhysRange,
    /// Other memory that must not be writable, each range with the rule that a writable mapping breaks.
    pub read_only: &'a [(PhysRange, Rule)],
    /// The memory map.
    pub regions: &'a [Region],
    /// The mappings beside RAM.
    pub io_regions: &'a IoRegions,
    /// The page attribute table.
    pub pat: u64,
    /// Whether the processor supports 1 GiB pages.
    pub pages_1g: bool,
}

/// The access rights of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) access: Access,
    pub(super) memory_type: MemoryType,
}

/// Adjacent pages with the same rights: adjacent in virtual and in physical addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) virt: u64,
    pub(super) physical: PhysRange,
    pub(super) rights: Rights,
    pub(super) pages: Pages,
}

/// The contents of a physical address, as far as its mapping depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Ram,
    IoRegion(IoRegion),
}

impl MappingPolicy<'_> {
    /// The address at which the direct map has a physical address.
    pub(super) fn virt(&self, physical: u64) -> u64 {
        self.direct_map_base + physical
    }

    /// Returns the contents of a page, and for a window its end. `None` if nothing is known to be there.
    fn expected_mapping(&self, page: u64) -> Option<(Expected, Option<u64>)> {
        if let Some((io_region, end)) = self.io_regions.at(page) {
            return Some((Expected::IoRegion(io_region), Some(end)));
        }
        let first = self.regions.partition_point(|region| region.range.end <= page);
        // A page that RAM shares with something else is mapped as RAM.
        let in_page =
            self.regions[first..].iter().take_while(|region| region.range.start < page + FRAME_BYTES);
        in_page.clone().find(|region| region.owner.is_memory()).map(|_| (Expected::Ram, None))
    }

    /// Whether a page is RAM.
    pub(super) fn is_memory(&self, page: u64) -> bool {
        matches!(self.expected_mapping(page), Some((Expected::Ram, _)))
    }

    /// The end of the contiguous RAM that a page is part of.
    fn end_of_memory(&self, page: u64) -> u64 {
        let mut end = page + FRAME_BYTES;
        let first = self.regions.partition_point(|region| region.range.end <= page);
        for region in self.regions[first..].iter().filter(|region| region.owner.is_memory()) {
            if region.range.start > end {
                break;
            }
            end = end.max(region.range.end.next_multiple_of(FRAME_BYTES));
        }
        end.min(self.io_regions.next_after(page).unwrap_or(u64::MAX))
    }

    /// Checks a run against every rule.
    ///
    /// # Errors
    /// The first rule that it breaks, and where.
    pub(super) fn check_run(&self, run: &Run) -> Result<(), Violation> {
        let Run { virt, physical, rights, .. } = *run;
        let in_place = virt.wrapping_sub(physical.start) == self.direct_map_base;
        let broken = |address: u64, rule: Rule| Err(Violation { address, rule });
        // The virtual address at which the run maps a physical address.
        let seen_at = |address: u64| virt + (address.max(physical.start) - physical.start);

        if virt < UPPER_HALF {
            return broken(virt, Rule::LowerHalf);
        }
        if rights.access.user {
            return broken(virt, Rule::User);
        }
        if rights.access.writable && rights.access.executable {
            return broken(virt, Rule::WritableAndExecutable);
        }
        if overlap(physical, self.text) && !(in_place && rights.access.executable) {
            return broken(seen_at(self.text.start), Rule::SecondMappingOfText);
        }
        let is_mapping = (self.mappings.0..self.mappings.1).contains(&virt);
        if rights.access.executable && !is_mapping && physical.start < self.text.start {
            return broken(virt, Rule::ExecutableOutsideText);
        }
        if rights.access.executable && !is_mapping && physical.end > self.text.end {
            return broken(seen_at(self.text.end), Rule::ExecutableOutsideText);
        }
        if rights.access.writable && overlap(physical, self.constants) {
            return broken(seen_at(self.constants.start), Rule::ConstantsWritable);
        }
        let is_written =
            |(range, _): &&(PhysRange, Rule)| rights.access.writable && overlap(physical, *range);
        if let Some((range, rule)) = self.read_only.iter().find(is_written) {
            return broken(seen_at(range.start), *rule);
        }
        let is_stack = (self.stacks.0..self.stacks.1).contains(&virt) && rights.access.writable;
        if !in_place && !is_stack && !is_mapping {
            return broken(virt, Rule::OutOfPlace);
        }
        self.check_target(run)?;
        let best = Pages::fewest(physical, self.pages_1g);
        if in_place
            && rights.access.writable
            && rights.memory_type == MemoryType::WRITE_BACK
            && run.pages != best
        {
            return broken(virt, Rule::NeedlesslySmall);
        }
        Ok(())
    }

    /// Checks a run against what it leads to, part by part.
    fn check_target(&self, run: &Run) -> Result<(), Violation> {
        let mut at = run.physical.start;
        while at < run.physical.end {
            let address = run.virt + (at - run.physical.start);
            let Some((expected, end)) = self.expected_mapping(at) else {
                // Memory of a device that the program has mapped.
                if (self.mappings.0..self.mappings.1).contains(&run.virt) && !run.rights.access.executable {
                    at += FRAME_BYTES;
                    continue;
                }
                return Err(Violation { address, rule: Rule::UnknownTarget { physical: at } });
            };
            let rule = match expected {
                Expected::Ram => {
                    (run.rights.memory_type != MemoryType::WRITE_BACK).then_some(Rule::MemoryNotWriteBack)
                }
                Expected::IoRegion(IoRegion::Device(_)) => {
                    (run.rights.memory_type != MemoryType::UNCACHEABLE).then_some(Rule::DeviceCached)
                }
                Expected::IoRegion(IoRegion::Screen) => {
                    let is_passed = [MemoryType::UNCACHEABLE, MemoryType::WRITE_COMBINING]
                        .contains(&run.rights.memory_type);
                    (!is_passed).then_some(Rule::DeviceCached)
                }
                Expected::IoRegion(IoRegion::Firmware) => {
                    run.rights.access.writable.then_some(Rule::FirmwareWritable)
                }
            };
            if let Some(rule) = rule {
                return Err(Violation { address, rule });
            }
            at = end.unwrap_or_else(|| self.end_of_memory(at));
        }
        Ok(())
    }
}

fn overlap(a: PhysRange, b: PhysRange) -> bool {
    a.start < b.end && b.start < a.end
}
