//! Asking the other CPUs to give back the frames that they keep.

use super::{call_those_online, other_online};
use crate::cpu::IrqGuard;
use crate::memory;

pub fn register() {
    memory::set_drain_others(drain_others);
}

/// Interrupts on. Waits for each online CPU; one that does not answer keeps what it has, and is named by `call`; one that
/// goes offline gives back what it has by itself.
fn drain_others() {
    if let Err(error) = call_those_online(&other_online(), &|| memory::drain_this_cpu(&IrqGuard::new())) {
        log::warn!("frames that other CPUs keep: {error}");
    }
}
