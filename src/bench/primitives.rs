//! Costs of primitive operations.

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

/// Increments a per-CPU counter.
pub(crate) fn per_cpu_add(meter: &mut Meter, repetitions: u32) {
    meter.count(|| repeat(repetitions, || COUNTER.increment()));
}

/// Acquires and releases a spin lock that disables interrupts, without contention, with interrupts on before and after.
pub(crate) fn spin_irqsave_pair(meter: &mut Meter, repetitions: u32) {
    meter.count(|| repeat(repetitions, || drop(LOCK.lock())));
}

/// A trace event that is not recorded: the cost of tracing when it is off.
pub(crate) fn trace_off(meter: &mut Meter, repetitions: u32) {
    meter.count(|| repeat(repetitions, || trace!(BenchHot, 1, 2)));
}

/// A trace event that is recorded: the jump, its two words, the record, and the return.
pub(crate) fn trace_on(meter: &mut Meter, repetitions: u32) {
    meter.count(|| repeat(repetitions, || trace!(BenchRare, 1, 2)));
}

/// Reads the clock.
pub(crate) fn clock_now(meter: &mut Meter, repetitions: u32) {
    meter.count(|| {
        repeat(repetitions, || {
            black_box(time::now_ns());
        });
    });
}
