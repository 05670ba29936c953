//! What everything else is made of.

use core::cell::Cell;
use core::hint::black_box;

use super::meter::{Meter, repeat};
use crate::cpu::per_cpu::PerCpu;
use crate::sync::SpinLockIrq;
use crate::{per_cpu, time, trace};

per_cpu! {
    static COUNTER: Cell<u64> = Cell::new(0);
}

static LOCK: SpinLockIrq<()> = SpinLockIrq::new(());
crate::name_lock!(LOCK);

/// One more on a per-CPU counter.
pub fn per_cpu_add(meter: &mut Meter, repetitions: u32) {
    meter.count(|| repeat(repetitions, || COUNTER.increment()));
}

/// A lock that a handler may take too, taken and freed, without contention, interrupts on before and after.
pub fn spin_irqsave_pair(meter: &mut Meter, repetitions: u32) {
    meter.count(|| repeat(repetitions, || drop(LOCK.lock())));
}

/// An event that is not recorded: what tracing costs where it is off.
pub fn trace_off(meter: &mut Meter, repetitions: u32) {
    meter.count(|| repeat(repetitions, || trace!(BenchHot, 1, 2)));
}

/// An event that is: the jump, its two words, the record, and back.
pub fn trace_on(meter: &mut Meter, repetitions: u32) {
    meter.count(|| repeat(repetitions, || trace!(BenchRare, 1, 2)));
}

/// The time.
pub fn clock_now(meter: &mut Meter, repetitions: u32) {
    meter.count(|| {
        repeat(repetitions, || {
            black_box(time::now_ns());
        });
    });
}
