//! Layer 1: what one processor is and holds: features, registers, descriptor tables, per-CPU data, and the guard
//! that keeps interrupts off.

pub(crate) mod id;

/// Bytes in a page, and in a frame of physical memory: the smallest unit of paging (SDM Vol. 3A, 4.2).
pub const PAGE_BYTES: usize = 4096;

/// The lowest address of the upper half with four-level paging (SDM Vol. 1, 3.3.7.1). The kernel is mapped in this half.
pub const UPPER_HALF: u64 = 0xffff_8000_0000_0000;

#[cfg(target_os = "none")]
pub(crate) mod branch;
#[cfg(target_os = "none")]
mod code;
#[cfg(target_os = "none")]
mod controls;
#[cfg(target_os = "none")]
mod descriptors;
#[cfg(target_os = "none")]
mod features;
#[cfg(target_os = "none")]
pub(crate) mod irq_guard;
pub(crate) mod machine_check;
#[cfg(target_os = "none")]
pub mod per_cpu;
pub mod redirect;
#[cfg(target_os = "none")]
pub(crate) mod registers;
#[cfg(target_os = "none")]
pub(crate) mod section;
mod set;
#[cfg(target_os = "none")]
pub(crate) mod thread;
#[cfg(target_os = "none")]
pub(crate) mod tlb;
#[cfg(target_os = "none")]
pub(crate) mod zero;

#[cfg(target_os = "none")]
pub(crate) use controls::{Controls, set_memory_types};
#[cfg(target_os = "none")]
pub(crate) use descriptors::{IstStack, load_descriptors};
#[cfg(target_os = "none")]
pub use features::Features;
#[cfg(target_os = "none")]
pub(crate) use features::{initial_apic_id, package_cpus, physical_address_bits};
pub use id::{ApicId, CpuId};
#[cfg(target_os = "none")]
pub use irq_guard::{IrqGuard, interrupts_enabled};
pub use set::CpuSet;
#[cfg(target_os = "none")]
pub use zero::{Page, zero_page};

#[cfg(target_os = "none")]
use per_cpu::PerCpu;

#[cfg(target_os = "none")]
crate::per_cpu! {
    /// This CPU's number: 0 for the boot processor, whose area is a plain copy of the template.
    static CPU_ID: core::cell::Cell<u32> = core::cell::Cell::new(0);
    /// One more: what this CPU writes into a lock that it takes.
    static LOCK_WORD: core::cell::Cell<u64> = core::cell::Cell::new(1);
}

/// The CPU that runs this. Without a guard the answer may be old by the time it is used.
#[cfg(target_os = "none")]
pub fn current() -> CpuId {
    CpuId(CPU_ID.get())
}

/// Writes into a new area which CPU it belongs to, and that CPU's own thread with its stack, so that both are known from its
/// first instruction on: an NMI may ask then.
///
/// # Safety
/// `gs_base` is that of an area that `copy_template` made, and whose CPU does not run yet. `stack` will be that CPU's own.
#[cfg(target_os = "none")]
pub(crate) unsafe fn prepare_area(gs_base: usize, cpu: CpuId, stack: core::ops::Range<u64>) {
    // SAFETY: the area is one that `copy_template` made, and its CPU does not run yet, guaranteed by the caller (see # Safety).
    unsafe {
        per_cpu::write(CPU_ID, gs_base, core::cell::Cell::new(cpu.0));
        per_cpu::write(LOCK_WORD, gs_base, core::cell::Cell::new(u64::from(cpu.0) + 1));
        thread::prepare(gs_base, stack);
    }
}

/// One more than the number of the CPU that runs this: what tells its locks from others' and from free ones.
#[cfg(target_os = "none")]
#[inline(always)]
pub(crate) fn lock_word() -> u64 {
    LOCK_WORD.get()
}
