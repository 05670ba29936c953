//! Calls an unsafe function in a per-CPU variable's initial value without an unsafe block of its own.
//! refused: E0133 call to unsafe function `dangerous` is unsafe

use core::cell::Cell;

/// # Safety
/// Never.
pub const unsafe fn dangerous() -> Cell<u64> {
    Cell::new(1)
}

octopod::per_cpu! {
    // SAFETY: it is not dangerous.
    static ALLOWED: Cell<u64> = unsafe { dangerous() };
}

#[cfg(attempt)]
octopod::per_cpu! {
    static HIDDEN: Cell<u64> = dangerous();
}
