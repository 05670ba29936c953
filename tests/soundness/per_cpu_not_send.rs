//! Has a type per CPU that must stay on one thread: a value can be moved out of one CPU's copy into another's.
//! refused: E0277 `*const Cell<u64>` cannot be sent between threads safely

use core::cell::Cell;

octopod::per_cpu! {
    static ALLOWED: Cell<u64> = Cell::new(0);
}

#[cfg(attempt)]
octopod::per_cpu! {
    static POINTER: Cell<*const Cell<u64>> = Cell::new(core::ptr::null());
}
