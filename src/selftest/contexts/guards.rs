//! Checks interrupt guards: the interrupt flag after guards were nested, dropped, stored and replaced.

use core::cell::Cell;
use core::mem;

use x86_64::instructions::interrupts::are_enabled;

use crate::config::IPI_CALL_TIMEOUT_MS;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{IrqGuard, interrupts_enabled};
use crate::per_cpu;
use crate::selftest::check::{CheckResult, ensure, on_all_cpus};
use crate::smp;

per_cpu! {
    /// Calls from this CPU to itself that it has run.
    static RAN: Cell<u64> = Cell::new(0);
    /// Whether one of them ran with interrupts on, or turned them on.
    static FOUND_ON: Cell<bool> = Cell::new(false);
}

/// Runs every check on every CPU.
///
/// # Errors
/// The first failed check.
pub(crate) fn check() -> CheckResult {
    on_all_cpus(IPI_CALL_TIMEOUT_MS, &|_| {
        for (name, check) in CHECKS {
            // The guard count and the interrupt flag must agree before and after each check.
            ensure!(is_on() && check() && is_on(), "wrong: {name}");
        }
        Ok(())
    })
}

type Check = fn() -> bool;

const CHECKS: [(&str, Check); 6] = [
    ("an IrqGuard in an IrqGuard", nested),
    ("an outer IrqGuard dropped before an inner one", outer_first),
    ("two IrqGuards swapped, stored and replaced", swapped),
    ("an IrqGuard's window", window),
    ("an IrqGuard's halt", halt),
    ("an IrqGuard in a handler", in_handler),
];

fn is_on() -> bool {
    are_enabled() && interrupts_enabled()
}

fn is_off() -> bool {
    !are_enabled() && !interrupts_enabled()
}

fn nested() -> bool {
    let outer = IrqGuard::new();
    let first = is_off() && outer.were_enabled();
    let inner = IrqGuard::new();
    let second = is_off() && !inner.were_enabled() && !outer.were_enabled();
    drop(inner);
    let third = is_off() && outer.were_enabled();
    drop(outer);
    first && second && third
}

fn outer_first() -> bool {
    let outer = IrqGuard::new();
    let inner = IrqGuard::new();
    drop(outer);
    let passed = is_off() && inner.were_enabled();
    drop(inner);
    passed
}

fn swapped() -> bool {
    let (mut first, mut second) = (IrqGuard::new(), Some(IrqGuard::new()));
    mem::swap(&mut first, second.as_mut().unwrap_or(&mut IrqGuard::new()));
    let mut passed = is_off();
    // The new guard is created before the old one is dropped.
    first = IrqGuard::new();
    passed &= is_off();
    drop(first);
    passed &= is_off();
    let stored = [second.take(), Some(IrqGuard::new()), None];
    passed &= is_off();
    drop(stored);
    passed
}

/// A pending call to this CPU itself runs in the window and not before.
fn window() -> bool {
    let before = RAN.get();
    let mut guard = IrqGuard::new();
    if smp::call_self(count, 0).is_err() {
        return false;
    }
    let waited = RAN.get() == before;
    let on_inside = guard.window(is_on);
    waited && on_inside && is_off() && RAN.get() == before + 1 && guard.were_enabled()
}

/// A pending call to this CPU itself ends the halt.
fn halt() -> bool {
    let before = RAN.get();
    let mut guard = IrqGuard::new();
    if smp::call_self(count, 0).is_err() {
        return false;
    }
    while RAN.get() == before {
        guard.halt();
    }
    is_off() && guard.were_enabled()
}

fn in_handler() -> bool {
    FOUND_ON.set(false);
    let before = RAN.get();
    let guard = IrqGuard::new();
    if smp::call_self(count, 0).is_err() {
        return false;
    }
    drop(guard);
    while RAN.get() == before {
        core::hint::spin_loop();
    }
    !FOUND_ON.get()
}

/// Runs in an interrupt handler.
fn count(_: usize) {
    let mut off = is_off();
    let guard = IrqGuard::new();
    off &= is_off() && !guard.were_enabled();
    drop(guard);
    off &= is_off();
    FOUND_ON.set(FOUND_ON.get() | !off);
    RAN.increment();
}
