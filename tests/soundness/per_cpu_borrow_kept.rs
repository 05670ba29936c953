//! Keeps what was borrowed under a guard beyond the guard.
//! refused: lifetime may not live long enough

use core::cell::Cell;

use octopod::cpu::IrqGuard;
use octopod::cpu::per_cpu::PerCpu;

octopod::per_cpu! {
    static VALUE: Cell<u64> = Cell::new(0);
}

pub fn copied(guard: &IrqGuard) -> u64 {
    VALUE.with(guard, |value| value.get())
}

#[cfg(attempt)]
pub fn kept(guard: &IrqGuard) -> &'static Cell<u64> {
    VALUE.with(guard, |value| value)
}
