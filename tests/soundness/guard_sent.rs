//! Moves a guard, or a reference to one, to another CPU.
//! refused: E0277 `*mut ()` cannot be sent between threads safely
//! refused: E0277 `*mut ()` cannot be shared between threads safely

pub use octopod::cpu::IrqGuard;

pub fn to_another_cpu<T: Send>(_: T) {}

pub fn allowed() {
    to_another_cpu(1);
}

#[cfg(attempt)]
pub fn guard() {
    to_another_cpu(IrqGuard::new());
}

#[cfg(attempt)]
pub fn reference() {
    to_another_cpu(&IrqGuard::new());
}
