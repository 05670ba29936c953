//! Deliberate faults, built in by the cargo feature `faults` and chosen by `fault=` on the kernel command line: each
//! must be caught, so that every check is known to be able to fail.

use crate::boot::command_line::Fault;
use crate::boot::{Handoff, direct_map, pvh};
use crate::cpu::CpuId;
use crate::memory::frames::faults as frame_faults;
use crate::smp;

/// How long the faults that strike on all CPUs have to strike, in milliseconds.
const STRIKE_MS: u64 = 10_000;

/// The fault that comes before there is anything that could read the command line properly.
pub fn at_entry(handoff: &Handoff) {
    // SAFETY: rt0 has checked the loader's structure, which lies in the first 4 GiB, as its command line does under
    // QEMU, for which alone this is built.
    let line = unsafe {
        let head = core::slice::from_raw_parts(direct_map::pointer(handoff.start_info), pvh::HEAD_BYTES_V1);
        let address = pvh::StartInfo::parse(head).ok().and_then(|info| info.command_line_address);
        address.map(|address| core::ffi::CStr::from_ptr(direct_map::pointer(address)).to_bytes())
    };
    let wanted = b"fault=early_exception";
    if line.is_some_and(|line| line.windows(wanted.len()).any(|word| word == wanted)) {
        // SAFETY: an exception is the purpose.
        unsafe { core::arch::asm!("ud2") };
    }
}

/// Prepares the faults of the frame allocator.
pub fn arm(fault: Option<Fault>) {
    frame_faults::arm(match fault {
        Some(Fault::DoubleHandOut) => frame_faults::Fault::HandOutTwice,
        Some(Fault::LoseFrame) => frame_faults::Fault::LoseOne,
        _ => frame_faults::Fault::None,
    });
}

/// The faults that strike when all CPUs are up.
pub fn at_work(fault: Option<Fault>) {
    match fault {
        Some(Fault::PanicCpu3) => {
            smp::run_on_all(STRIKE_MS, &|cpu| {
                assert!(cpu.id() != CpuId(3), "the deliberate fault panic_cpu3")
            });
        }
        Some(Fault::StackOverflow) => {
            let last = smp::online().last().map(smp::Cpu::id);
            smp::run_on_all(STRIKE_MS, &|cpu| {
                if Some(cpu.id()) == last {
                    fill_stack(0);
                }
            });
        }
        _ => {}
    }
}

/// Calls itself until something stops it.
#[inline(never)]
fn fill_stack(depth: u64) -> u64 {
    let ballast = core::hint::black_box([depth; 32]);
    let below = if core::hint::black_box(depth) == u64::MAX { 0 } else { fill_stack(depth + 1) };
    below + core::hint::black_box(ballast)[depth as usize % 32]
}
