//! The points of the boot at which faults are injected, and the faults of each point.

use super::injection::{Injection, Point};
use super::names::{Fault, FaultParameters};
use super::program::ProgramFault;
use super::{accesses, bring_up, heap, hotplug, ipis, locks, own_checks, panics, redirects, remap};
use super::{serial, spins, stacks, tsc};
use crate::boot::command_line::Named;
use crate::boot::{Handoff, direct_map, pvh};
use crate::heap::faults as heap_faults;
use crate::memory::frames::faults as frame_faults;
use crate::sched::faults as sched_faults;

/// The injections of each module.
const ALL: &[&[Injection]] = &[
    accesses::INJECTIONS,
    own_checks::INJECTIONS,
    heap::INJECTIONS,
    hotplug::INJECTIONS,
    ipis::INJECTIONS,
    locks::INJECTIONS,
    panics::INJECTIONS,
    remap::INJECTIONS,
    serial::INJECTIONS,
    spins::INJECTIONS,
    stacks::INJECTIONS,
    tsc::INJECTIONS,
];

/// Injects the fault of the earliest boot, before the command line is parsed.
pub fn at_entry(handoff: &Handoff) {
    // SAFETY: rt0 has checked the loader's structure, which lies in the first 4 GiB, and nothing has written there since.
    let head =
        unsafe { core::slice::from_raw_parts(direct_map::pointer(handoff.loader_info), pvh::HEAD_BYTES_V1) };
    let address = pvh::StartInfo::parse(head).ok().and_then(|info| info.command_line_address);
    // SAFETY: the command line is a terminated string in the first 4 GiB: kernels with the feature `faults` run under QEMU
    // only, which places it there.
    let line =
        address.map(|address| unsafe { core::ffi::CStr::from_ptr(direct_map::pointer(address)) }.to_bytes());
    let wanted = b"inject=early_exception";
    if line.is_some_and(|line| line.windows(wanted.len()).any(|word| word == wanted)) {
        // SAFETY: none is needed: the fault is to raise an exception.
        unsafe { core::arch::asm!("ud2") };
    }
}

/// Arms the faults that replace functions, those of the frame allocator, of the heap and of the scheduler, and those of bring-up.
///
/// **Context:** the BSP, once, before functions are replaced.
pub fn arm(parameters: &FaultParameters) {
    redirects::arm(parameters.fault);
    parameters.program_fault.into_iter().for_each(ProgramFault::arm);
    bring_up::arm(parameters.stage);
    frame_faults::arm(parameters.fault.and_then(|fault| frame_faults::FrameFault::from_name(fault.name())));
    sched_faults::arm(parameters.fault.and_then(|fault| sched_faults::SchedFault::from_name(fault.name())));
    heap_faults::arm(parameters.fault.and_then(|fault| heap_faults::HeapFault::from_name(fault.name())));
    inject(Point::CommandLine, parameters.fault);
}

/// Injects the fault if this is its point.
///
/// **Context:** the thread of the BSP. From [`Point::BeforeTscSync`] on all CPUs are online and interrupts are on.
pub fn inject(point: Point, fault: Option<Fault>) {
    if point == Point::BeforeWork {
        ipis::begin();
    }
    for Injection(at, injected, function) in ALL.iter().copied().flatten() {
        if *at == point && Some(*injected) == fault {
            function();
        }
    }
}
