//! Costs of interrupts for the interrupted code.

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

/// A vector that is not used otherwise.
const VECTOR: u8 = 0x60;
const TIMER_VECTOR: u8 = Vector::TIMER.get();

per_cpu! {
    /// Timer expiries.
    static EXPIRIES: Cell<u64> = Cell::new(0);
    /// Calls that have run.
    static SERVED: Cell<u64> = Cell::new(0);
    /// The TSC at the beginning of the current call.
    static BEGAN: Cell<u64> = Cell::new(0);
    /// The sum of the times of all calls, in TSC cycles.
    static TOOK: Cell<u64> = Cell::new(0);
}

/// From a software interrupt to the next instruction: the gate's stub, the entry that saves every register, the dispatch to a
/// handler that does nothing, and the return.
pub(crate) fn entry_exit(meter: &mut Meter, repetitions: u32) {
    fn nothing(_: &mut TrapFrame) {}
    let previous = interrupts::replace(Vector::new(VECTOR), nothing);
    meter.count(|| {
        repeat(repetitions, || {
            // SAFETY: the handler must keep all registers. It returns, and the entry code restores every register and the flags.
            unsafe { asm!("int {}", const VECTOR) };
        });
    });
    interrupts::replace(Vector::new(VECTOR), previous);
}

/// A timer interrupt with one timer due, from the interrupt to the next instruction. It calls the callback, re-arms the
/// periodic timer and sets the APIC timer.
pub(crate) fn timer_expiry(meter: &mut Meter, repetitions: u32) {
    // The APIC timer's own interrupt stays pending meanwhile: its time is not known.
    let guard = IrqGuard::new();
    let period = Duration::from_micros(100);
    let before = EXPIRIES.get();
    let Ok(timer) = timer::every(period, |_| EXPIRIES.increment(), 0) else { return };
    let mut next_ns = time::now_ns();
    repeat(repetitions, || {
        next_ns += period.as_nanos() as u64;
        while time::now_ns() <= next_ns {}
        // SAFETY: the handler must keep all registers. It returns, and the entry code restores every register and the flags. An
        // EOI without an interrupt in service has no effect.
        meter.count(|| unsafe { asm!("int {}", const TIMER_VECTOR) });
    });
    timer::cancel(timer);
    drop(guard);
    assert_eq!(
        EXPIRIES.get() - before,
        u64::from(repetitions),
        "the timer did not expire in each repetition"
    );
}

/// From a CPU's call to itself until the called function runs, in the interrupt of the call.
pub(crate) fn self_ipi(meter: &mut Meter, repetitions: u32) {
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

/// From a CPU's call to another, idle CPU, until it has answered: the instructions of both, since QEMU counts for all CPUs
/// together. The CPUs alternate, and a waiting CPU yields at its first PAUSE.
pub(crate) fn call_round_trip(meter: &mut Meter, repetitions: u32) {
    let targets = smp::other_online();
    let mut answers = 0;
    meter.count(|| {
        repeat(repetitions, || answers += u32::from(smp::call(&targets, &|| {}).is_ok()));
    });
    assert_eq!(answers, repetitions, "a call to an idle CPU was not answered");
}
