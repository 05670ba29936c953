//! Disables the frame allocator on a CPU from outside, or writes the word that says how many frames its magazine has.
//! refused: E0603 function `with_alloc_disabled` is private
//! refused: E0603 module `fast_path` is private

pub use octopod::memory;

#[cfg(attempt)]
pub fn disable(guard: &octopod::cpu::IrqGuard) {
    memory::with_alloc_disabled(guard, || ());
}

#[cfg(attempt)]
pub use octopod::memory::cache::fast_path::MAGAZINE;
