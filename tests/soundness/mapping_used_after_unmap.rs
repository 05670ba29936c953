//! Uses the memory of a mapping that was unmapped, and frees its frames before all CPUs have flushed it.
//! refused: E0505 cannot move out of `mapping` because it is borrowed
//! refused: E0624 method `free` is private

use octopod::memory::{Mapping, StaleRange};
use octopod::smp;

pub fn unmapped(mut mapping: Mapping) {
    mapping.as_uninit()[0].write(1);
    let _ = smp::shootdown(mapping.unmap());
}

#[cfg(attempt)]
pub fn written_afterwards(mut mapping: Mapping) -> StaleRange {
    let memory = mapping.as_uninit();
    let stale = mapping.unmap();
    memory[0].write(1);
    stale
}

#[cfg(attempt)]
pub fn freed_without_a_shootdown(stale: StaleRange) {
    let _ = stale.free();
}
