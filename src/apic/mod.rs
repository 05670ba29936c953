//! Layer 6: each CPU's local APIC, and the I/O APICs ([`io_apic`]), which deliver device interrupts to it.
//!
//! The modes xAPIC (registers in memory) and x2APIC (MSRs) have the same registers except for the interrupt command
//! register; `registers` hides the difference. The `x2apic` crate drives the I/O APICs ([`io_apic`]), and the local APIC
//! where that is sound (`driver`).
//!
//! Two hardware rules matter: the two halves of an xAPIC's ICR, and when the ICR may be written (`icr`); and the error
//! status register must be written before it is read (SDM Vol. 3A, 11.5.3).

mod base;
mod driver;
mod error;
mod handlers;
mod icr;
pub(crate) mod io_apic;
mod registers;
pub(crate) mod serial_input;
mod timer;

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::acpi::NmiPin;
use crate::boot::defect::Defect;
use crate::boot::io_regions::Device;
use crate::boot::memory_map::FRAME_BYTES;
use crate::boot::report_defect;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{ApicId, Features, IrqGuard};
use crate::interrupts::Vector;
use crate::memory;
use crate::{patchable, per_cpu};

#[cfg(feature = "faults")]
pub(crate) use base::set_x2apic_as_firmware;
pub(crate) use error::ApicError;
pub(crate) use icr::{Batch, Message, send, send_to_self};
#[cfg(feature = "faults")]
pub(crate) use icr::{IcrAccess, accepts_from_itself, is_idle, may_send, transmit};
pub(crate) use registers::{Mode, end_of_interrupt, mode, read_error_status};
pub(crate) use timer::{
    TimerMode, deadline_mode_works, set_timer_count, set_tsc_deadline, start_timer, start_timer_masked,
    timer_current,
};

use registers::Register;

per_cpu! {
    /// Whether this CPU's local APIC is enabled.
    static IS_ENABLED: Cell<bool> = Cell::new(false);
}

/// The virtual address of the xAPIC registers; 0 in x2APIC mode.
static XAPIC_BASE: AtomicU64 = AtomicU64::new(0);

/// The physical address of the xAPIC registers.
static XAPIC_PHYSICAL: AtomicU64 = AtomicU64::new(0);

/// Selects the mode for all CPUs, maps the registers, and registers the handlers.
///
/// The mode is x2APIC if `features` has it, because only x2APIC addresses every APIC ID. `listed_at` is the address of
/// the registers in the MADT. If it differs from IA32_APIC_BASE, the latter is used, because the processor decodes this
/// address.
///
/// **Context:** the BSP, once, before the APs run.
///
/// # Errors
/// [`ApicError::Map`]
pub(crate) fn init(features: &Features, listed_at: Option<u64>) -> Result<Mode, ApicError> {
    let mode = if features.x2apic {
        Mode::X2Apic
    } else {
        let registers_at = crate::cpu::registers::apic_base();
        if let Some(listed_at) = listed_at.filter(|listed_at| *listed_at != registers_at) {
            let reason =
                format_args!("wrong local APIC address, using {registers_at:#x} from IA32_APIC_BASE");
            report_defect(&Defect { table: "MADT", address: Some(listed_at), offset: None, reason });
        }
        let registers =
            memory::map_device(Device::LocalApic, registers_at, FRAME_BYTES).map_err(ApicError::Map)?;
        XAPIC_PHYSICAL.store(registers_at, Ordering::Relaxed);
        XAPIC_BASE.store(registers.addr().get() as u64, Ordering::Relaxed);
        Mode::XApic
    };
    registers::set_mode(mode, XAPIC_BASE.load(Ordering::Relaxed));
    handlers::register();
    Ok(mode)
}

patchable! {
    /// Enables this CPU's local APIC with the timer stopped, whatever state firmware or INIT has left it in.
    ///
    /// **Context:** once on each CPU each time that it comes up, interrupts off.
    pub(crate) fn enable(_guard: &IrqGuard, nmi_pins: &[NmiPin], uid: Option<u32>) {
        base::enter(registers::mode(), XAPIC_PHYSICAL.load(Ordering::Relaxed));
        // This comes first: while the APIC is software-disabled, no LVT entry can be unmasked (SDM Vol. 3A, 11.4.7.2).
        registers::write(Register::Spurious, registers::SOFTWARE_ENABLE | u32::from(Vector::SPURIOUS.get()));
        registers::write(Register::LvtTimer, registers::LVT_MASKED | u32::from(Vector::TIMER.get()));
        registers::write(Register::TimerInitial, 0);
        registers::write(Register::TimerDivide, registers::DIVIDE_BY_1);
        registers::write(Register::LvtError, u32::from(Vector::APIC_ERROR.get()));
        for pin in 0..2 {
            let nmi = nmi_pins.iter().find(|nmi| nmi.pin == pin && nmi.applies_to(uid));
            let entry = nmi.map_or(registers::LVT_MASKED, |nmi| {
                registers::LVT_NMI | if nmi.active_low { registers::LVT_ACTIVE_LOW } else { 0 }
            });
            registers::write(if pin == 0 { Register::Lint0 } else { Register::Lint1 }, entry);
        }
        registers::write(Register::TaskPriority, 0);
        // Errors from before are discarded.
        let _ = registers::read_error_status();
        IS_ENABLED.set(true);
    }
}

/// Returns whether this CPU's local APIC is enabled, so that it can send.
pub(crate) fn is_enabled(_: &IrqGuard) -> bool {
    IS_ENABLED.get()
}

/// Returns whether an interrupt is pending in this CPU's local APIC.
pub(crate) fn is_any_requested(_: &IrqGuard) -> bool {
    registers::is_any_requested()
}

/// Returns the BSP's APIC ID from its local APIC, before [`init`]. `by_cpuid` is the initial APIC ID. It is returned if
/// the APIC cannot be read, and it has the upper bits that an xAPIC's register lacks.
///
/// **Context:** the BSP, before the APs run.
pub(crate) fn bsp_apic_id(by_cpuid: ApicId) -> ApicId {
    match base::initial_state() {
        base::InitialState::Disabled => by_cpuid,
        base::InitialState::X2Apic => driver::id().unwrap_or(by_cpuid),
        base::InitialState::XApic(address) => {
            let Ok(page) = memory::map_device(Device::LocalApic, address, FRAME_BYTES) else {
                return by_cpuid;
            };
            // SAFETY: the page is mapped as device memory, and IA32_APIC_BASE has its address (`initial_state`).
            let id = unsafe { registers::read_xapic_id(page) };
            // SAFETY: the pointer is not used again; `init` maps the page again later.
            unsafe { memory::unmap_device(address, FRAME_BYTES) };
            if id == by_cpuid.0 as u8 { by_cpuid } else { ApicId(id.into()) }
        }
    }
}

/// Returns this CPU's APIC ID.
#[allow(dead_code, reason = "part of the local APIC's interface")]
pub(crate) fn id() -> ApicId {
    registers::read_id()
}
