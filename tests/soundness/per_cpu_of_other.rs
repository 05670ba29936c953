//! Borrows another CPU's copy: of a type that is not `Sync`, and without the promise that there is such an area.
//! refused: E0277 `Cell<u64>` cannot be shared between threads safely
//! refused: E0133 call to unsafe function `octopod::prelude::PerCpu::of` is unsafe

use core::cell::Cell;
use core::sync::atomic::AtomicU64;

use octopod::cpu::per_cpu::PerCpu;

octopod::per_cpu! {
    static OWN: Cell<u64> = Cell::new(0);
    static SHARED: AtomicU64 = AtomicU64::new(0);
}

/// # Safety
/// `gs_base` is that of a CPU's area.
pub unsafe fn shared(gs_base: usize) -> &'static AtomicU64 {
    // SAFETY: the caller guarantees the area.
    unsafe { SHARED.of(gs_base) }
}

#[cfg(attempt)]
pub unsafe fn own(gs_base: usize) -> &'static Cell<u64> {
    unsafe { OWN.of(gs_base) }
}

#[cfg(attempt)]
pub fn anywhere(gs_base: usize) -> &'static AtomicU64 {
    SHARED.of(gs_base)
}
