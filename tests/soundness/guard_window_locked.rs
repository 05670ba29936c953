//! Turns interrupts on while a lock is held that was taken under the guard.
//! refused: E0502 cannot borrow `guard` as mutable because it is also borrowed as immutable

use octopod::cpu::IrqGuard;
use octopod::sync::SpinLockIrq;

static LOCK: SpinLockIrq<u64> = SpinLockIrq::new(0);

pub fn in_turn() {
    let mut guard = IrqGuard::new();
    drop(LOCK.lock_under(&guard));
    guard.halt();
}

#[cfg(attempt)]
pub fn within() {
    let mut guard = IrqGuard::new();
    let locked = LOCK.lock_under(&guard);
    guard.halt();
    drop(locked);
}
