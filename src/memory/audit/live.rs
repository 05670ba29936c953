//! The audit of the page tables that this CPU uses.

use super::inventory::Inventory;
use super::policy::MappingPolicy;
use super::rule::{Rule, Violation};
use super::scan::audit;
use crate::boot::memory_map::{MemoryMap, PhysRange};
use crate::boot::{direct_map, image};
use crate::memory::paging::kernel::with_live_tables;
use crate::memory::{mappings, mmio, stacks};

/// Audits the page tables that this CPU uses. `cpus` CPUs have stacks. The memory map is as [`init`](crate::memory::init()) has left
/// it. `trampoline` is the physical page of the APs' first code, if there is one; no mapping of it may be writable.
///
/// **Context:** thread context; holds the lock of the page tables for a time that grows with their number.
///
/// # Errors
/// The violation at the lowest address.
pub(crate) fn audit_live(
    map: &MemoryMap,
    cpus: usize,
    pages_1g: bool,
    trampoline: Option<PhysRange>,
) -> Result<Inventory, Violation> {
    with_live_tables(|root, pat, read_entry| {
        let io_regions = mmio::io_regions().lock();
        let policy = MappingPolicy {
            direct_map_base: direct_map::base(),
            stacks: stacks::region(cpus),
            mappings: mappings::region(),
            text: image::text(),
            constants: image::constants(),
            read_only: &[
                (image::interrupt_tables(), Rule::InterruptTableWritable),
                (trampoline.unwrap_or(PhysRange::new(0, 0)), Rule::TrampolineWritable),
            ],
            regions: map.regions(),
            io_regions: &io_regions,
            pat,
            pages_1g,
        };
        // Page 0 is a guard wherever the loader has put the image: it is never there.
        let guards = [direct_map::virt(0), direct_map::virt(image::boot_stack_guard_page().start)];
        let guards = guards.into_iter().chain(stacks::guards(cpus));
        audit(root, &policy, guards, read_entry)
    })
}
