//! What an interrupt costs its victim.

use core::arch::asm;
use core::cell::Cell;

use super::meter::{Meter, repeat};
use crate::apic::{self, Message};
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;
use crate::interrupts::{self, Frame, Vector};
use crate::per_cpu;

/// A vector that nothing else has.
const VECTOR: u8 = 0x60;

per_cpu! {
    static HANDLED: Cell<u64> = Cell::new(0);
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

/// From the order to interrupt this CPU until its handler has returned, the handler having acknowledged.
pub fn self_ipi(meter: &mut Meter, repetitions: u32) {
    fn handled(_: &mut Frame) {
        HANDLED.increment();
        apic::end_of_interrupt();
    }
    let previous = interrupts::replace(Vector::new(VECTOR), handled);
    let me = apic::id();
    meter.count(|| {
        repeat(repetitions, || {
            let before = HANDLED.get();
            // On its own CPU nothing can keep it from being delivered.
            let _ = apic::send(&IrqGuard::new(), me, Message::Fixed(Vector::new(VECTOR)));
            while HANDLED.get() == before {
                core::hint::spin_loop();
            }
        });
    });
    interrupts::replace(Vector::new(VECTOR), previous);
}
