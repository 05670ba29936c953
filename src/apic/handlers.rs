//! Interrupts of the local APIC's own, and those that nobody asked for.

use spin::Once;

use super::registers::is_in_service;
use super::{end_of_interrupt, read_error_status};
use crate::interrupts::{self, Frame, Vector};

/// Called at each timer interrupt, on the CPU that got it, with interrupts off.
static TIMER_HOOK: Once<fn()> = Once::new();

/// Sets what each timer interrupt calls.
pub fn set_timer_hook(hook: fn()) {
    TIMER_HOOK.call_once(|| hook);
}

pub fn register() {
    interrupts::register(Vector::TIMER, "APIC timer", timer);
    interrupts::register(Vector::SPURIOUS, "spurious", spurious);
    interrupts::register(Vector::APIC_ERROR, "APIC error", error);
    interrupts::set_acknowledge(acknowledge);
}

fn timer(_: &mut Frame) {
    // Before the hook: it may take long, and the next tick may come meanwhile.
    end_of_interrupt();
    if let Some(hook) = TIMER_HOOK.get() {
        hook();
    }
}

/// No end-of-interrupt: nothing is in service (SDM Vol. 3A, 11.9).
fn spurious(_: &mut Frame) {}

fn error(_: &mut Frame) {
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
