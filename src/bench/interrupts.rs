//! What an interrupt costs its victim.

use core::arch::asm;
use core::cell::Cell;
use core::time::Duration;

use super::meter::{Meter, repeat};
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::registers::read_tsc;
use crate::interrupts::{self, TrapFrame, Vector};
use crate::time::timer;
use crate::{per_cpu, smp, time};

/// A vector that nothing else has.
const VECTOR: u8 = 0x60;
const TIMER_VECTOR: u8 = Vector::TIMER.get();

per_cpu! {
    /// Timers that have expired.
    static EXPIRIES: Cell<u64> = Cell::new(0);
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
    fn nothing(_: &mut TrapFrame) {}
    let previous = interrupts::replace(Vector::new(VECTOR), nothing);
    meter.count(|| {
        repeat(repetitions, || {
            // SAFETY: the handler returns, and the entry restores every register and the flags.
            unsafe { asm!("int {}", const VECTOR) };
        });
    });
    interrupts::replace(Vector::new(VECTOR), previous);
}

/// A timer interrupt that finds a timer due, calls it, puts it off to its next period and sets the APIC timer: from the
/// interrupt to the instruction after it.
pub fn timer_expiry(meter: &mut Meter, repetitions: u32) {
    // The APIC's own interrupt stays pending meanwhile: it would be as good, but nobody knows where it strikes.
    let guard = IrqGuard::new();
    let period = Duration::from_micros(100);
    let before = EXPIRIES.get();
    let Ok(timer) = timer::every(period, |_| EXPIRIES.increment(), 0) else { return };
    let mut next_ns = time::now_ns();
    repeat(repetitions, || {
        next_ns += period.as_nanos() as u64;
        while time::now_ns() <= next_ns {}
        // SAFETY: the handler returns, and the entry restores every register and the flags; acknowledging an interrupt that the APIC did not deliver does nothing.
        meter.count(|| unsafe { asm!("int {}", const TIMER_VECTOR) });
    });
    timer::cancel(timer);
    drop(guard);
    assert_eq!(EXPIRIES.get() - before, u64::from(repetitions), "what was measured was not an expiry");
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
        if smp::call_self(served, 0).is_err() {
            return;
        }
        while SERVED.get() == served_before {
            core::hint::spin_loop();
        }
    });
    meter.add(TOOK.get().wrapping_sub(before));
}

/// From a CPU's call to the other, idle until then, to the answer: the instructions of both, since QEMU counts for all CPUs
/// together. They take turns there, and a CPU that waits hands over at its first PAUSE.
pub fn call_round_trip(meter: &mut Meter, repetitions: u32) {
    let targets = smp::other_online();
    let mut answers = 0;
    meter.count(|| {
        repeat(repetitions, || answers += u32::from(smp::call(&targets, &|| {}).is_ok()));
    });
    assert_eq!(answers, repetitions, "a call to an idle CPU was not answered");
}
