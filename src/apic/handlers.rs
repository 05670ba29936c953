//! Interrupts of the local APIC's own, and those that nobody asked for.

use super::registers::is_in_service;
use super::{end_of_interrupt, read_error_status};
use crate::interrupts::{self, Frame, Vector};

pub fn register() {
    interrupts::register(Vector::SPURIOUS, "spurious", spurious);
    interrupts::register(Vector::APIC_ERROR, "APIC error", error);
    interrupts::set_acknowledge(acknowledge);
}

/// Nothing is in service (SDM Vol. 3A, 11.9), unless a device was told to interrupt by just this vector.
fn spurious(_: &mut Frame) {
    acknowledge(Vector::SPURIOUS);
}

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
