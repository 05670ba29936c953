//! The local APIC by the `x2apic` crate, where that is sound: in x2APIC mode, outside the hot paths.
//!
//! Of version 0.5.1 these functions are used: `id`, `send_nmi`, `send_init_ipi` and `send_sipi`. Each accesses one MSR of the
//! CPU that executes it, once. The others are not used:
//!
//! - `LocalApicBuilder::build` derives the mode from CPUID. An APIC that is in xAPIC mode on a processor with x2APIC
//!   (`x2apic=off`) would be driven by MSRs that raise #GP in that mode. So [`driver`] reads the mode from the APIC.
//! - In xAPIC mode `id` returns the register unshifted, `send_*` write the destination to the wrong bits, and
//!   `send_ipi_self` writes outside the registers' page.
//! - `enable` sets x2APIC mode without the global enable bit. It writes the LVT entries while the APIC may be
//!   software-disabled, when they stay masked (SDM Vol. 3A, 11.4.7.2). It unmasks both LINT pins with vector 0.
//! - No function sets the vector of one LVT entry, or an NMI on a LINT pin. Thus octopod writes the LVT, the timer included.
//! - `error_flags` reads the error status register without the write that must come before (11.5.3).
//! - `send_*` neither wait until the ICR is idle nor order earlier stores (11.12.3). Their caller does both.
//!
//! `build` executes CPUID, which a hypervisor intercepts, and initialises 700 bytes. So interrupts, their acknowledgement
//! and the timer use `registers`.

use x2apic::lapic::{LocalApic, LocalApicBuilder};

use super::base::{InitialState, initial_state};
use super::registers::fence_before_wrmsr;
use crate::cpu::ApicId;
use crate::interrupts::Vector;

/// Returns the driver of this CPU's local APIC, if that is in x2APIC mode.
fn driver() -> Option<LocalApic> {
    if initial_state() != InitialState::X2Apic {
        return None;
    }
    // The builder requires the vectors. Only `enable` uses them.
    let mut builder = LocalApicBuilder::new();
    builder.timer_vector(Vector::TIMER.get().into());
    builder.error_vector(Vector::APIC_ERROR.get().into());
    builder.spurious_vector(Vector::SPURIOUS.get().into());
    builder.build().ok()
}

/// Returns this CPU's APIC ID, if its local APIC is in x2APIC mode. **Context:** any.
pub(crate) fn id() -> Option<ApicId> {
    // SAFETY: the APIC must be in the driver's mode. `driver` has read that it is in x2APIC mode, and a processor that can be
    // in this mode reports it in CPUID, so the builder has chosen it too. Reading the ID has no effect.
    driver().map(|local| ApicId(unsafe { local.id() }))
}

/// Sends an NMI to `to`, if this CPU's local APIC is in x2APIC mode. Returns whether it was sent.
///
/// **Context:** as for [`send`](super::send).
pub(crate) fn send_nmi(to: ApicId) -> bool {
    // SAFETY: the APIC must be in the driver's mode (`with_driver`), and the target must have a handler. Each CPU has one
    // for NMIs from its IDT's load on, before others can name it as a target.
    with_driver(|local| unsafe { local.send_nmi(to.0) })
}

/// Sends INIT to `to`, as [`send_nmi`].
pub(crate) fn send_init(to: ApicId) -> bool {
    // SAFETY: the APIC must be in the driver's mode (`with_driver`), and the target must run no code that others depend on.
    // Only the bring-up of a CPU that is not online sends INIT.
    with_driver(|local| unsafe { local.send_init_ipi(to.0) })
}

/// Sends a start-up IPI to `to`, as [`send_nmi`]: it begins at the page with this number.
pub(crate) fn send_start_up(to: ApicId, page: u8) -> bool {
    // SAFETY: the APIC must be in the driver's mode (`with_driver`), and the page must hold code for a CPU in real mode.
    // Only bring-up sends start-up IPIs, with the page that it has copied the trampoline to.
    with_driver(|local| unsafe { local.send_sipi(page, to.0) })
}

/// Sends by the driver, after all earlier stores. Returns whether there is a driver.
#[cold]
fn with_driver(send: impl FnOnce(&mut LocalApic)) -> bool {
    let Some(mut local) = driver() else { return false };
    fence_before_wrmsr();
    send(&mut local);
    true
}
