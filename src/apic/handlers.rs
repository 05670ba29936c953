//! Interrupts of the local APIC's own, and those that nobody asked for.

use core::sync::atomic::{AtomicU64, Ordering};

use spin::Once;

use super::registers::is_in_service;
use super::{end_of_interrupt, read_error_status};
use crate::cpu::per_cpu::PerCpu;
use crate::interrupts::{self, Frame, Vector};
use crate::per_cpu;

per_cpu! {
    /// Timer interrupts.
    static TIMER: AtomicU64 = AtomicU64::new(0);
    /// Interrupts that went away before they were taken.
    static SPURIOUS: AtomicU64 = AtomicU64::new(0);
    /// Errors that the local APIC reported.
    static ERRORS: AtomicU64 = AtomicU64::new(0);
}

/// Called at each timer interrupt, on the CPU that got it, with interrupts off.
static TIMER_HOOK: Once<fn()> = Once::new();

/// One CPU's counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Timer interrupts.
    pub timer: u64,
    /// Spurious interrupts.
    pub spurious: u64,
    /// Errors reported by the local APIC.
    pub errors: u64,
}

/// The counts of the CPU with that GS base.
///
/// # Safety
/// As for [`PerCpu::of`].
pub unsafe fn counts(gs_base: usize) -> Counts {
    // SAFETY: the caller vouches.
    unsafe {
        Counts {
            timer: TIMER.of(gs_base).load(Ordering::Relaxed),
            spurious: SPURIOUS.of(gs_base).load(Ordering::Relaxed),
            errors: ERRORS.of(gs_base).load(Ordering::Relaxed),
        }
    }
}

/// Sets what each timer interrupt calls.
pub fn set_timer_hook(hook: fn()) {
    TIMER_HOOK.call_once(|| hook);
}

pub fn register() {
    interrupts::register(Vector::TIMER, timer);
    interrupts::register(Vector::SPURIOUS, spurious);
    interrupts::register(Vector::APIC_ERROR, error);
    interrupts::set_acknowledge(acknowledge);
}

fn timer(_: &mut Frame) {
    TIMER.increment();
    // Before the hook: it may take long, and the next tick may come meanwhile.
    end_of_interrupt();
    if let Some(hook) = TIMER_HOOK.get() {
        hook();
    }
}

/// No end-of-interrupt: nothing is in service (SDM Vol. 3A, 11.9).
fn spurious(_: &mut Frame) {
    SPURIOUS.increment();
}

fn error(_: &mut Frame) {
    ERRORS.increment();
    let status = read_error_status();
    end_of_interrupt();
    log::warn!("the local APIC reports error {status:#x}");
}

/// An interrupt from the bus is in service and blocks all of its priority until it is acknowledged; one that an
/// instruction raised is not, and acknowledging it would end another.
fn acknowledge(vector: Vector) {
    if is_in_service(vector.get()) {
        end_of_interrupt();
    }
}
