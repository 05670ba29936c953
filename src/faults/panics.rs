//! Faults that panic, and the panics that they must not disturb.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::injection::{FAULT_TIMEOUT_MS, Injection, Point, on_all, on_last_cpu};
use super::names::Fault;
use super::redirects::is_armed;
use crate::cpu::{self, CpuId, IrqGuard};
use crate::panic::{self, Panicking};
use crate::sync::Timeout;
use crate::{console, smp, static_call};

pub(super) const INJECTIONS: &[Injection] = &[
    Injection(Point::BeforeWork, Fault::PanicCpu3, panic_cpu3),
    Injection(Point::BeforeWork, Fault::PanicEverywhere, panic_everywhere),
    Injection(Point::BeforeWork, Fault::PanicInPanic, panic_in_panic),
    Injection(Point::BeforeWork, Fault::PanicInConsole, panic_in_console),
    Injection(Point::AfterSelfTest, Fault::PanicAfterSelfTest, panic_after_selftest),
];

fn panic_cpu3() {
    on_all(&|cpu| assert!(cpu.id() != CpuId(3), "the injected fault panic_cpu3"));
}

fn panic_in_panic() {
    on_last_cpu(&|| panic!("{}", PanicsWhenShown));
}

fn panic_in_console() {
    on_last_cpu(&|| console::with_lock(|| panic!("the injected fault panic_in_console")));
}

fn panic_after_selftest() {
    on_last_cpu(&|| panic!("the injected fault panic_after_selftest"));
}

/// Panics on all CPUs, when all have arrived here.
fn panic_everywhere() {
    static HERE: AtomicUsize = AtomicUsize::new(0);
    let count = smp::online().count();
    on_all(&|cpu| {
        let _guard = IrqGuard::new();
        HERE.fetch_add(1, Ordering::AcqRel);
        let _ = Timeout::after_ms(FAULT_TIMEOUT_MS).wait_until(|| HERE.load(Ordering::Acquire) == count);
        panic!("the injected fault panic_everywhere, on cpu {}", cpu.id())
    });
}

static_call! {
    smp::stop_others(panicking: &Panicking) => stop_panicked, if |_| is_armed(Fault::PanicEverywhere);
}

/// [`smp::stop_others`], when all other CPUs have panicked too.
extern "C" fn stop_panicked(panicking: &Panicking) {
    let others = || smp::online().filter(|cpu| cpu.id() != cpu::current());
    let have_panicked =
        || others().filter_map(|cpu| cpu.get(panic::CRASH_STATE)).all(panic::CpuCrashState::has_panicked);
    let _ = Timeout::after_ms(FAULT_TIMEOUT_MS).wait_until(have_panicked);
    smp::stop_others::original(panicking);
}

struct PanicsWhenShown;

impl fmt::Display for PanicsWhenShown {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("the injected fault in a message")
    }
}
