//! Turns interrupts on while a per-CPU variable is borrowed under the guard.
//! refused: E0502 cannot borrow `guard` as mutable because it is also borrowed as immutable
//! refused: E0596 cannot borrow `*guard` as mutable

use core::cell::Cell;

use octopod::cpu::IrqGuard;
use octopod::cpu::per_cpu::PerCpu;

octopod::per_cpu! {
    static VALUE: Cell<u64> = Cell::new(0);
}

pub fn in_turn() {
    let mut guard = IrqGuard::new();
    VALUE.with(&guard, |value| value.set(1));
    guard.window(|| ());
    VALUE.with(&guard, |value| value.set(2));
}

#[cfg(attempt)]
pub fn within() {
    let mut guard = IrqGuard::new();
    VALUE.with(&guard, |_| guard.window(|| ()));
}

/// A function that was lent a guard cannot open a window in it.
#[cfg(attempt)]
pub fn lent(guard: &IrqGuard) {
    guard.window(|| ());
}
