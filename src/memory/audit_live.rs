//! The [audit](super::audit) of the tables that this CPU uses.

use super::audit::{House, Inventory, Rule, Violation, audit};
use super::{init, ioremap, passage, stacks, vmap};
use crate::boot::memory_map::MemoryMap;
use crate::boot::{direct_map, image};
use crate::cpu::Controls;

/// Walks this CPU's page tables. `cpus` have stacks; the memory map is as [`init`](super::init()) left it. Holds the
/// tables' lock.
pub fn audit_live(map: &MemoryMap, cpus: usize, pages_1g: bool) -> Result<Inventory, Violation> {
    let controls = Controls::read();
    let _tables = init::tables().lock();
    let windows = ioremap::windows().lock();
    let house = House {
        direct_map_base: direct_map::base(),
        stacks: stacks::region(cpus),
        temporary: vmap::region(),
        text: image::text(),
        constants: image::constants(),
        read_only: &[
            (image::interrupt_tables(), Rule::InterruptTableWritable),
            (passage::sealed(), Rule::TrampolineWritable),
        ],
        regions: map.regions(),
        windows: &windows,
        pat: controls.pat,
        pages_1g,
    };
    // Not by name alone: the loader may have put the image anywhere, but never at page 0.
    let guards = [direct_map::virt(0), direct_map::virt(image::boot_stack_guard_page().start)];
    let guards = guards.into_iter().chain(stacks::guards(cpus));
    let root = controls.cr3 & Controls::CR3_ADDRESS;
    audit(root, &house, guards, |table, index| {
        let table = direct_map::pointer::<[u64; 512]>(table).cast_const().cast::<u64>();
        // SAFETY: a table of the live tree, in memory, as the audit has checked; the processors set bits in it
        // meanwhile, which a volatile read allows for, and nobody changes it otherwise while the lock is held.
        unsafe { table.add(index % 512).read_volatile() }
    })
}
