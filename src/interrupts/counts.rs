//! Interrupt counts by CPU and vector, as in Linux's `/proc/interrupts`.

use core::sync::atomic::AtomicU64;

use super::vector::Vector;
use crate::cpu::per_cpu::PerCpuStorage;
use crate::per_cpu;
use crate::sync::SpinLockIrq;

/// One CPU's number of interrupts on each vector, exceptions included.
pub(crate) type Counts = [AtomicU64; 256];

/// This CPU's interrupt counts. The vectors' stubs increment them, so they count each delivery, whatever the handler
/// does. Only a self-test subtracts its own interrupts. `per_cpu!` is not used, because the stubs name the storage.
#[derive(Clone, Copy)]
pub(crate) struct LocalCounts;

/// This CPU's interrupt counts, as a [`PerCpu`](crate::cpu::per_cpu::PerCpu) variable.
pub(crate) const COUNTS: LocalCounts = LocalCounts;

#[unsafe(link_section = ".percpu")]
// SAFETY: it lies in .percpu.
pub(super) static TEMPLATE: PerCpuStorage<Counts> =
    unsafe { PerCpuStorage::new([const { AtomicU64::new(0) }; 256]) };

per_cpu!(@variable LocalCounts, Counts, TEMPLATE);

static NAMES: SpinLockIrq<[Option<&'static str>; 256]> = SpinLockIrq::new([None; 256]);
crate::name_lock!(NAMES);

pub(super) fn set_name(vector: Vector, name: &'static str) {
    NAMES.lock()[usize::from(vector.get())] = Some(name);
}

/// Returns the name of a vector: the registered name, else the exception's name, else `unregistered`.
///
/// **Context:** thread or interrupt; not NMI. Takes a lock.
pub(crate) fn name(vector: Vector) -> &'static str {
    let registered = NAMES.lock()[usize::from(vector.get())];
    registered.or(vector.exception()).unwrap_or("unregistered")
}
