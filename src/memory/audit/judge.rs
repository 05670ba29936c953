//! What a run of pages is held against.

use super::{MappingPolicy, PAGE, Pages, Rule, Run, Violation};
use crate::boot::memory_map::PhysRange;
use crate::boot::windows::Window;
use crate::cpu::UPPER_HALF;
use crate::memory::paging::entry::MemoryType;

/// What memory is, as far as a mapping of it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ground {
    Memory,
    Window(Window),
}

impl MappingPolicy<'_> {
    pub(super) fn virt(&self, physical: u64) -> u64 {
        self.direct_map_base + physical
    }

    /// What lies at the beginning of a page, and where at the latest something else begins, if it is not a frame of
    /// memory by itself. `None` where nothing is known to lie.
    fn ground(&self, page: u64) -> Option<(Ground, Option<u64>)> {
        if let Some((window, end)) = self.windows.at(page) {
            return Some((Ground::Window(window), Some(end)));
        }
        let first = self.regions.partition_point(|region| region.range.end <= page);
        // A page that memory shares with something else is mapped as memory.
        let in_page = self.regions[first..].iter().take_while(|region| region.range.start < page + PAGE);
        in_page.clone().find(|region| region.owner.is_memory()).map(|_| (Ground::Memory, None))
    }

    /// Whether a page is memory.
    pub(super) fn is_memory(&self, page: u64) -> bool {
        matches!(self.ground(page), Some((Ground::Memory, _)))
    }

    /// Where the memory ends that a page is part of.
    fn end_of_memory(&self, page: u64) -> u64 {
        let mut end = page + PAGE;
        let first = self.regions.partition_point(|region| region.range.end <= page);
        for region in self.regions[first..].iter().filter(|region| region.owner.is_memory()) {
            if region.range.start > end {
                break;
            }
            end = end.max(region.range.end.next_multiple_of(PAGE));
        }
        end.min(self.windows.next_after(page).unwrap_or(u64::MAX))
    }

    /// Holds a run against every rule.
    pub(super) fn judge(&self, run: &Run) -> Result<(), Violation> {
        let Run { virt, physical, rights, .. } = *run;
        let in_place = virt.wrapping_sub(physical.start) == self.direct_map_base;
        let broken = |address: u64, rule: Rule| Err(Violation { address, rule });
        // Where the run shows a physical address.
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
        if rights.access.executable && physical.start < self.text.start {
            return broken(virt, Rule::ExecutableOutsideText);
        }
        if rights.access.executable && physical.end > self.text.end {
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
        let has_own_place = [self.stacks, self.temporary].iter().any(|own| (own.0..own.1).contains(&virt));
        let is_own = has_own_place && rights.access.writable;
        if !in_place && !is_own {
            return broken(virt, Rule::OutOfPlace);
        }
        self.judge_ground(run)?;
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

    /// Holds the run against what it leads to, piece by piece.
    fn judge_ground(&self, run: &Run) -> Result<(), Violation> {
        let mut at = run.physical.start;
        while at < run.physical.end {
            let address = run.virt + (at - run.physical.start);
            let Some((ground, end)) = self.ground(at) else {
                return Err(Violation { address, rule: Rule::NobodysMemory { physical: at } });
            };
            let rule = match ground {
                Ground::Memory => {
                    (run.rights.memory_type != MemoryType::WRITE_BACK).then_some(Rule::MemoryNotWriteBack)
                }
                Ground::Window(Window::Device(_)) => {
                    (run.rights.memory_type != MemoryType::UNCACHEABLE).then_some(Rule::DeviceCached)
                }
                Ground::Window(Window::Screen) => {
                    let is_passed = [MemoryType::UNCACHEABLE, MemoryType::WRITE_COMBINING]
                        .contains(&run.rights.memory_type);
                    (!is_passed).then_some(Rule::DeviceCached)
                }
                Ground::Window(Window::Firmware) => {
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
