//! Stores 64 bits to a per-CPU variable of 32, and adds to one that is no integer.
//! refused: E0133 call to unsafe function `store_64` is unsafe
//! refused: E0133 call to unsafe function `store` is unsafe
//! refused: E0277 PerCpuInt` is not satisfied
//! refused: E0277 PerCpuAdd` is not satisfied

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64};

use octopod::cpu::per_cpu::{PerCpu, PerCpuInt, RawAccess};

octopod::per_cpu! {
    static WIDE: AtomicU64 = AtomicU64::new(0);
    static NARROW: AtomicU32 = AtomicU32::new(0);
    static NO_INTEGER: Cell<Option<u64>> = Cell::new(None);
}

pub fn by_type() {
    WIDE.set(1);
    NARROW.set(1);
    NARROW.add(2);
    // SAFETY: `WIDE` is of this type.
    unsafe { <AtomicU64 as PerCpuInt>::store::<WIDE>(3) };
    // SAFETY: `WIDE` has 64 bits, of which any are valid.
    unsafe { WIDE::store_64(4) };
}

#[cfg(attempt)]
pub fn raw() {
    NARROW::store_64(u64::MAX);
}

#[cfg(attempt)]
pub fn by_another_type() {
    <AtomicU64 as PerCpuInt>::store::<NARROW>(u64::MAX);
}

#[cfg(attempt)]
pub fn no_integer() {
    NO_INTEGER.set(1);
    NO_INTEGER.add(1);
}
