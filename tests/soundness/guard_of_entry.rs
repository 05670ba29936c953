//! Makes an interrupt guard by the constructors for the entries from assembly, which do not count it.
//! refused: E0624 associated function `of_entry` is private
//! refused: E0624 associated function `of_handler` is private

pub use octopod::cpu::IrqGuard;

#[cfg(attempt)]
pub fn forge() -> (IrqGuard, &'static IrqGuard) {
    // Even in an unsafe block.
    unsafe { (IrqGuard::of_entry(), IrqGuard::of_handler()) }
}
