//! What an interrupt costs its victim.

use core::arch::asm;
use core::cell::Cell;

use super::meter::{Meter, repeat};
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::registers::read_tsc;
use crate::interrupts::{self, Frame, Vector};
use crate::{per_cpu, smp};

/// A vector that nothing else has.
const VECTOR: u8 = 0x60;

per_cpu! {
    /// Calls that were served.
    static SERVED: Cell<u64> = Cell::new(0);
    /// When the call under way began, by the TSC.
    static BEGAN: Cell<u64> = Cell::new(0);
    /// What all calls took until they were served.
    static TOOK: Cell<u64> = Cell::new(0);
}

/// From a software interrupt to the instruction after it: the gate's stub, the entry that saves every register, the
/// dispatch to a handler that does nothing, and back.
pub fn entry_exit(meter: &mut Meter, repetitions: u32) {
    fn nothing(_: &mut Frame) {}
    let previous = interrupts::replace(Vector::new(VECTOR), nothing);
    meter.count(|| {
        repeat(repetitions, || {
            // SAFETY: the handler returns, and the entry restores every register and the flags.
            unsafe { asm!("int {}", const VECTOR) };
        });
    });
    interrupts::replace(Vector::new(VECTOR), previous);
}

/// From a CPU's call to itself until the function that was called runs, in the interrupt that this takes.
pub fn self_ipi(meter: &mut Meter, repetitions: u32) {
    fn served(_: usize) {
        TOOK.add(read_tsc().wrapping_sub(BEGAN.get()));
        SERVED.increment();
    }
    let before = TOOK.get();
    repeat(repetitions, || {
        let served_before = SERVED.get();
        BEGAN.set(read_tsc());
        smp::call_self(served, 0);
        while SERVED.get() == served_before {
            core::hint::spin_loop();
        }
    });
    meter.add(TOOK.get().wrapping_sub(before));
}
