//! Layer 10: the audit of all CPUs: the page tables in use ([`memory::audit_live`]), and the control registers of each CPU.

use core::fmt;

use crate::boot::memory_map::MemoryMap;
use crate::cpu::{self, ControlRegisters, CpuId, Features};
use crate::memory;
use crate::memory::audit::{Inventory, Violation};
use crate::smp::{self, CallError};
use crate::sync::SpinLockIrq;

/// The findings of the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A mapping that breaks a rule.
    Mapping(Violation),
    /// A register that differs from what it should be.
    Register {
        /// The CPU.
        cpu: CpuId,
        /// The register.
        name: &'static str,
        /// Its value.
        is: u64,
        /// The expected value.
        should: u64,
    },
    /// A CPU did not answer the call for its registers.
    Silent(CallError),
    /// The frame allocator does not manage the usable frames of the memory map.
    Frames {
        /// Managed frames.
        taken: u64,
        /// Usable frames in the map.
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
                    "the frame allocator manages {taken} frames, not the {usable} usable ones of the memory map"
                )
            }
        }
    }
}

/// Runs the audit.
///
/// **Context:** thread context on the BSP, interrupts enabled, when bring-up is complete. It waits for each CPU.
///
/// # Errors
/// The first finding; of several registers, that of the CPU with the lowest number.
pub(crate) fn run(map: &MemoryMap, features: &Features) -> Result<Inventory, Finding> {
    let wanted = ControlRegisters::read().with_kernel_bits(features, memory::root());
    let first: SpinLockIrq<Option<Finding>> = SpinLockIrq::new(None);
    let compare = || {
        if let Some((name, is, should)) = ControlRegisters::read().first_difference(&wanted) {
            let mut first = first.lock();
            let cpu = cpu::current();
            // CPUs finish in any order: the finding of the lowest number is kept.
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
    memory::audit_live(map, cpus, features.pages_1g, smp::trampoline_code()).map_err(Finding::Mapping)
}
