//! Layer 1: one processor: features, registers, descriptor tables, per-CPU data, and the guard that disables interrupts.

mod address;
pub(crate) mod id;

#[cfg(target_os = "none")]
mod apic_id;
#[cfg(target_os = "none")]
mod code;
#[cfg(target_os = "none")]
mod controls;
#[cfg(target_os = "none")]
mod descriptors;
#[cfg(target_os = "none")]
mod features;
#[cfg(target_os = "none")]
pub(crate) mod fs_base;
#[cfg(target_os = "none")]
pub(crate) mod irq_guard;
pub(crate) mod machine_check;
#[cfg(any(target_os = "none", test))]
pub(crate) mod pat;
#[cfg(target_os = "none")]
pub mod per_cpu;
#[doc(hidden)]
pub mod per_cpu_storage;
#[cfg(any(target_os = "none", test))]
pub(crate) mod prologue;
#[cfg(target_os = "none")]
pub(crate) mod registers;
#[cfg(target_os = "none")]
pub(crate) mod section;
mod set;
#[doc(hidden)]
pub mod static_call;
#[cfg(target_os = "none")]
pub(crate) mod static_key;
#[cfg(target_os = "none")]
pub(crate) mod thread;
#[cfg(any(target_os = "none", test))]
mod thread_name;
#[cfg(target_os = "none")]
pub(crate) mod tlb;
#[cfg(target_os = "none")]
pub(crate) mod zero;

pub use address::{PAGE_BYTES, UPPER_HALF};
#[cfg(target_os = "none")]
pub(crate) use apic_id::initial_apic_id;
#[cfg(target_os = "none")]
pub(crate) use controls::{ControlRegisters, set_memory_types};
#[cfg(target_os = "none")]
pub(crate) use descriptors::{IstStack, load_descriptors};
#[cfg(target_os = "none")]
pub use features::Features;
#[cfg(target_os = "none")]
pub(crate) use features::{package_cpus, physical_address_bits};
pub use id::{ApicId, CpuId};
#[cfg(target_os = "none")]
pub use irq_guard::{IrqGuard, interrupts_enabled};
pub use set::CpuSet;
pub(crate) use set::Others;
#[cfg(target_os = "none")]
pub(crate) use thread_name::{NAME_BYTES as THREAD_NAME_BYTES, ThreadName};
#[cfg(target_os = "none")]
pub use zero::{Page, zero_page};

#[cfg(target_os = "none")]
use per_cpu::PerCpu;

#[cfg(target_os = "none")]
crate::per_cpu! {
    /// This CPU's number. It is 0 in the template and for the BSP, whose area is an unmodified copy of the template.
    static CPU_ID: core::cell::Cell<u32> = core::cell::Cell::new(0);
    /// The CPU number plus one. The CPU writes it into a lock that it acquires.
    static LOCK_WORD: core::cell::Cell<u64> = core::cell::Cell::new(1);
}

/// Returns the number of the CPU that executes this function.
///
/// **Context:** any. Without an [`IrqGuard`] the caller may run on another CPU by the time it uses the result.
#[cfg(target_os = "none")]
pub fn current() -> CpuId {
    CpuId(CPU_ID.get())
}

/// Prepares a new per-CPU area: writes the CPU's number and links the CPU's own thread and stack. Both are valid from the
/// CPU's first instruction on, because an NMI handler may read them.
///
/// # Safety
/// `gs_base` is the GS base of an area that `copy_template` made, and its CPU does not run yet. `stack` will be that
/// CPU's own stack.
#[cfg(target_os = "none")]
pub(crate) unsafe fn prepare_area(gs_base: usize, cpu: CpuId, stack: core::ops::Range<u64>) {
    // SAFETY: the area is one that `copy_template` made, and its CPU does not run yet, guaranteed by the caller (see # Safety).
    unsafe { per_cpu::write(CPU_ID, gs_base, core::cell::Cell::new(cpu.0)) };
    // SAFETY: the area is one that `copy_template` made, and its CPU does not run yet, guaranteed by the caller (see # Safety).
    unsafe { per_cpu::write(LOCK_WORD, gs_base, core::cell::Cell::new(u64::from(cpu.0) + 1)) };
    // SAFETY: the area is one that `copy_template` made, and its CPU does not run yet, guaranteed by the caller (see # Safety).
    unsafe { thread::prepare(gs_base, stack) };
}

/// Returns the number of this CPU plus one: the value of a lock word that this CPU holds. 0 means a free lock.
///
/// **Context:** any.
#[cfg(target_os = "none")]
#[inline(always)]
pub(crate) fn lock_word() -> u64 {
    LOCK_WORD.get()
}
