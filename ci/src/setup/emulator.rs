//! Finds or installs the emulator of a run.

use crate::base::{Error, Observer};
use crate::machine::accelerator::{Accel, Host, decide};
use crate::machine::emulator::Emulator;
use crate::machine::{EmulatorKind, MachineConfig};
use crate::setup::{bochs, qemu};

/// Finds the emulator that is asked for, and installs it if it is missing.
///
/// # Errors
/// The accelerator cannot be had; the emulator is missing and cannot be installed, or does not answer as one.
pub fn provide(config: &MachineConfig, host: &Host, observer: &mut dyn Observer) -> Result<Emulator, Error> {
    match config.emulator {
        EmulatorKind::Qemu => {
            let decision = decide(config.accel, host)?;
            let needs_newer = decision.accel == Accel::Tcg && config.needs_x2apic();
            let qemu = qemu::provide_for(config.qemu.as_deref(), needs_newer, observer)?;
            Ok(Emulator::Qemu(qemu, decision))
        }
        EmulatorKind::Bochs => bochs::provide(config.bochs.as_deref(), observer).map(Emulator::Bochs),
    }
}
