//! Faults that spin: with interrupts off, or in a timer callback.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use super::injection::{FAULT_TIMEOUT_MS, Injection, Point, on_last_cpu};
use super::names::Fault;
use crate::config::{TIMER_CALLBACK_MS, WATCHDOG_MS};
use crate::cpu::{CpuId, CpuSet, IrqGuard};
use crate::smp;
use crate::sync::{Deadline, Timeout};
use crate::time::timer::{self, Expiry};

pub(super) const INJECTIONS: &[Injection] = &[
    Injection(Point::BeforeWork, Fault::SpinForever, spin_forever_in_call),
    Injection(Point::BeforeWork, Fault::SpinInCallback, || on_last_cpu(&spin_in_timer)),
    Injection(Point::BeforeWork, Fault::SpinAWhile, || on_last_cpu(&|| spin_a_while(2 * WATCHDOG_MS))),
];

fn spin_forever_in_call() {
    let last = smp::online().last().map_or(CpuId::BSP, smp::Cpu::id);
    smp::call_async(&CpuSet::of(last), spin_forever, 0).expect("the last CPU takes calls");
}

/// Runs in a call, so with interrupts off.
#[inline(never)]
fn spin_forever(_: usize) {
    loop {
        core::hint::spin_loop();
    }
}

#[inline(never)]
fn spin_a_while(ms: u64) {
    let _guard = IrqGuard::new();
    Deadline::after_ms(ms).wait();
}

/// Arms a timer whose callback takes twice as long as allowed, and waits for it.
fn spin_in_timer() {
    static HAS_RETURNED: AtomicBool = AtomicBool::new(false);
    fn spin_in_callback(_: &Expiry) {
        Deadline::after_ms(2 * TIMER_CALLBACK_MS).wait();
        HAS_RETURNED.store(true, Ordering::Release);
    }
    let armed = timer::after(Duration::from_millis(1), spin_in_callback, 0);
    armed.expect("the first timers of a CPU need no memory");
    let has_returned =
        Timeout::after_ms(FAULT_TIMEOUT_MS).wait_until(|| HAS_RETURNED.load(Ordering::Acquire));
    has_returned.expect("the timer expires");
}
