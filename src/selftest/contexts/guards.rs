//! Interrupt guards: what the processor's flag says after each way of nesting, dropping, storing and leaking them.

use core::cell::Cell;
use core::mem;
use core::sync::atomic::{AtomicBool, Ordering};

use x86_64::instructions::interrupts::are_enabled;

use crate::config::IPI_CALL_TIMEOUT_MS;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{IrqGuard, interrupts_enabled};
use crate::per_cpu;
use crate::smp;

per_cpu! {
    /// Calls that this CPU has sent itself and run.
    static RAN: Cell<u64> = Cell::new(0);
    /// Whether one of them found itself with interrupts on, or turned them on.
    static FOUND_ON: Cell<bool> = Cell::new(false);
}

/// Runs every check on every CPU; returns what failed, if any did.
pub fn check() -> Result<(), &'static str> {
    static FAILED: [AtomicBool; CHECKS.len()] = [const { AtomicBool::new(false) }; CHECKS.len()];
    crate::selftest::on_each_cpu(IPI_CALL_TIMEOUT_MS, &|_| {
        for (failed, (_, check)) in FAILED.iter().zip(CHECKS) {
            // The count and the flag must agree before and after, whatever the check finds.
            let passed = is_on() && check() && is_on();
            failed.fetch_or(!passed, Ordering::Relaxed);
        }
    });
    let failed = FAILED.iter().zip(CHECKS).find(|(failed, _)| failed.load(Ordering::Relaxed));
    failed.map_or(Ok(()), |(_, (what, _))| Err(what))
}

type Check = fn() -> bool;

const CHECKS: [(&str, Check); 6] = [
    ("an IrqGuard in an IrqGuard", nested),
    ("an outer IrqGuard dropped before an inner one", outer_first),
    ("two IrqGuards swapped, stored and replaced", moved_about),
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

fn moved_about() -> bool {
    let (mut first, mut second) = (IrqGuard::new(), Some(IrqGuard::new()));
    mem::swap(&mut first, second.as_mut().unwrap_or(&mut IrqGuard::new()));
    let mut passed = is_off();
    // Both values live until the new one has taken the old one's place.
    first = IrqGuard::new();
    passed &= is_off();
    drop(first);
    passed &= is_off();
    let stored = [second.take(), Some(IrqGuard::new()), None];
    passed &= is_off();
    drop(stored);
    passed
}

/// A call to this CPU itself, which waits for interrupts, is run in the window and not before.
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

/// One that is pending ends the halt.
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
