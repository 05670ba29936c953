//! Has two guards where one was counted.
//! refused: E0599 no method named `clone` found for struct `IrqGuard`

pub use octopod::cpu::IrqGuard;

pub fn one() -> IrqGuard {
    IrqGuard::new()
}

#[cfg(attempt)]
pub fn two() -> (IrqGuard, IrqGuard) {
    let guard = one();
    (guard.clone(), guard)
}
