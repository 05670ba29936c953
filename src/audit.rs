//! Layer 10: whether the house is locked, on every CPU: the live page tables, and the registers by which each CPU reads
//! them.

use core::fmt;

use crate::boot::memory_map::MemoryMap;
use crate::cpu::{self, Controls, CpuId, Features};
use crate::memory;
use crate::memory::audit::{Inventory, Violation};
use crate::smp::{self, CallError};
use crate::sync::IrqMutex;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A mapping.
    Mapping(Violation),
    /// A CPU's register.
    Register {
        /// The CPU.
        cpu: CpuId,
        /// The register.
        name: &'static str,
        /// What it holds.
        is: u64,
        /// What it should hold.
        should: u64,
    },
    /// A CPU could not be asked for its registers.
    Silent(CallError),
    /// The frame allocator's books: what was usable at the memory stage is all that it has.
    Frames {
        /// Under its care.
        taken: u64,
        /// Usable in the map.
        usable: u64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Mapping(violation) => violation.fmt(f),
            Finding::Register { cpu, name, is, should } => {
                write!(f, "cpu {cpu}: {name} is {is:#x} and should be {should:#x}")
            }
            Finding::Silent(error) => error.fmt(f),
            Finding::Frames { taken, usable } => {
                write!(
                    f,
                    "the frame allocator has {taken} frames, not the {usable} that the memory map has to give"
                )
            }
        }
    }
}

/// Looks at everything, when all CPUs are up.
pub fn run(map: &MemoryMap, features: &Features) -> Result<Inventory, Finding> {
    let wanted = Controls::read().wanted(features, memory::root());
    let first: IrqMutex<Option<Finding>> = IrqMutex::new(None);
    let compare = || {
        if let Some((name, is, should)) = Controls::read().first_difference(&wanted) {
            let mut first = first.lock();
            let cpu = cpu::current();
            // Of several, the one with the lowest number, whichever came first.
            if !matches!(*first, Some(Finding::Register { cpu: known, .. }) if known < cpu) {
                *first = Some(Finding::Register { cpu, name, is, should });
            }
        }
    };
    smp::call(&smp::all_online(), &compare).map_err(Finding::Silent)?;
    let found = *first.lock();
    if let Some(finding) = found {
        return Err(finding);
    }
    let (taken, usable) = (memory::frames().total_frames() as u64, map.usable_frame_count());
    if taken != usable {
        return Err(Finding::Frames { taken, usable });
    }
    let cpus = smp::cpus().len();
    memory::audit_live(map, cpus, features.pages_1g).map_err(Finding::Mapping)
}
