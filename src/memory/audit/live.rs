//! The [audit](super::audit()) of the tables that this CPU uses.

use super::{Inventory, MappingPolicy, Rule, Violation, audit};
use crate::boot::memory_map::MemoryMap;
use crate::boot::{direct_map, image};
use crate::memory::paging::kernel::with_live_tables;
use crate::memory::{mmio, stacks, trampoline_tables, vmap};

/// Walks this CPU's page tables. `cpus` have stacks; the memory map is as [`init`](crate::memory::init()) left it. Holds the
/// tables' lock.
pub fn audit_live(map: &MemoryMap, cpus: usize, pages_1g: bool) -> Result<Inventory, Violation> {
    with_live_tables(|root, pat, read_entry| {
        let windows = mmio::windows().lock();
        let policy = MappingPolicy {
            direct_map_base: direct_map::base(),
            stacks: stacks::region(cpus),
            temporary: vmap::region(),
            text: image::text(),
            constants: image::constants(),
            read_only: &[
                (image::interrupt_tables(), Rule::InterruptTableWritable),
                (trampoline_tables::sealed(), Rule::TrampolineWritable),
            ],
            regions: map.regions(),
            windows: &windows,
            pat,
            pages_1g,
        };
        // Not by name alone: the loader may have put the image anywhere, but never at page 0.
        let guards = [direct_map::virt(0), direct_map::virt(image::boot_stack_guard_page().start)];
        let guards = guards.into_iter().chain(stacks::guards(cpus));
        audit(root, &policy, guards, read_entry)
    })
}
