//! Handlers of the local APIC's own interrupts and of unexpected ones.

use super::registers::{end_of_interrupt, is_in_service, read_error_status};
use crate::interrupts::{self, TrapFrame, Vector};

pub(crate) fn register() {
    interrupts::register(Vector::SPURIOUS, "spurious", spurious);
    interrupts::register(Vector::APIC_ERROR, "APIC error", error);
    interrupts::set_eoi_hook(acknowledge);
}

/// A spurious interrupt is not in service (SDM Vol. 3A, 11.9), unless a device was programmed with this vector.
fn spurious(_: &mut TrapFrame) {
    acknowledge(Vector::SPURIOUS);
}

fn error(_: &mut TrapFrame) {
    let status = read_error_status();
    end_of_interrupt();
    log::warn!("local APIC error, ESR {status:#x}");
}

/// Acknowledges an interrupt if it is in service, because it blocks all interrupts of its priority class. An interrupt
/// that an INT instruction raised is not in service, and an end-of-interrupt would end another one.
fn acknowledge(vector: Vector) {
    if is_in_service(vector.get()) {
        end_of_interrupt();
    }
}
