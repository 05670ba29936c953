//! Makes a per-CPU variable of a static that does not lie among the templates, or of one of another type.
//! refused: E0133 call to unsafe function `octopod::cpu::per_cpu::PerCpuStorage::<T>::new` is unsafe
//! refused: E0308 mismatched types

use core::cell::Cell;

use octopod::cpu::per_cpu::PerCpuStorage;

#[unsafe(link_section = ".percpu")]
// SAFETY: it lies in .percpu.
pub static BYTE: PerCpuStorage<Cell<u8>> = unsafe { PerCpuStorage::new(Cell::new(0)) };

pub struct Byte;
octopod::per_cpu!(@variable Byte, Cell<u8>, BYTE);

#[cfg(attempt)]
pub mod elsewhere {
    use super::*;

    pub static WORD: PerCpuStorage<Cell<u64>> = PerCpuStorage::new(Cell::new(0));
    pub struct Word;
    octopod::per_cpu!(@variable Word, Cell<u64>, WORD);
}

#[cfg(attempt)]
pub mod another_type {
    use super::*;

    pub struct Wide;
    octopod::per_cpu!(@variable Wide, Cell<u64>, BYTE);
}
