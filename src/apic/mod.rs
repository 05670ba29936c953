//! Layer 6: each CPU's local APIC, and in [`io_apic`] what brings devices' interrupts to it.
//!
//! Both modes, xAPIC through memory and x2APIC through MSRs, have the same registers but for the interrupt command
//! register; `registers` hides the difference. The crate `x2apic` drives the I/O APICs ([`io_apic`]). Its `LocalApic` is not
//! used: it takes the mode from CPUID alone, so that a processor that has x2APIC could not be used without it, and it
//! unmasks both pins and the timer when it turns an APIC on.
//!
//! What bites: the two halves of an xAPIC's ICR, and when it may be written (`icr`); the error status register has to be
//! written before it is read (SDM Vol. 3A, 11.5.3).

mod base;
mod handlers;
mod icr;
pub mod io_apic;
mod registers;
pub mod serial_input;
mod timer;

use core::cell::Cell;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::acpi::NmiPin;
use crate::boot::defect::Defect;
use crate::boot::io_regions::Device;
use crate::boot::memory_map::FRAME_BYTES;
use crate::boot::report_defect;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{ApicId, Features, IrqGuard};
use crate::interrupts::Vector;
use crate::memory::{self, MapError};
use crate::{per_cpu, redirect, redirectable};

#[cfg(feature = "faults")]
pub use base::set_x2apic_as_firmware;
pub use icr::{Batch, Message, send, send_to_self};
#[cfg(feature = "faults")]
pub use icr::{Proof, accepts_from_itself, is_idle, may_send, transmit};
pub use registers::{Mode, mode};
pub use timer::{
    TimerMode, deadline_mode_works, set_timer_count, set_tsc_deadline, start_timer, start_timer_masked,
    timer_current,
};

use registers::Register;

per_cpu! {
    /// Whether this CPU's local APIC is on.
    static IS_ENABLED: Cell<bool> = Cell::new(false);
}

/// Where the registers of an xAPIC are mapped; 0 in x2APIC mode.
static XAPIC_BASE: AtomicU64 = AtomicU64::new(0);

/// Where they lie, physical.
static XAPIC_PHYSICAL: AtomicU64 = AtomicU64::new(0);

/// Why a local APIC cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApicError {
    /// Its registers could not be mapped.
    Map(MapError),
    /// An interrupt could not be sent: the ICR stayed busy with the one before.
    NotDelivered {
        /// The target.
        to: ApicId,
        /// How long the sender has waited, with the messages before this one, in milliseconds.
        waited_ms: u64,
    },
    /// An NMI handler sends no interrupts: it may have interrupted the code that does.
    InNmi,
}

impl fmt::Display for ApicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApicError::Map(error) => write!(f, "the local APIC's registers: {error}"),
            ApicError::NotDelivered { to, waited_ms } => {
                write!(f, "no interrupt to APIC ID {to}: the local APIC's ICR was busy for {waited_ms} ms")
            }
            ApicError::InNmi => f.write_str("an interrupt cannot be sent from an NMI handler"),
        }
    }
}

/// Chooses the mode for all CPUs, maps the registers, and registers the handlers. Once, by the boot processor.
///
/// The mode is x2APIC wherever `features` has it, since only there every APIC ID can be addressed.
///
/// `listed_at` is where the firmware's table has the registers. The processor's own word counts, for it is the processor
/// that decodes the address.
pub fn init(features: &Features, listed_at: Option<u64>) -> Result<Mode, ApicError> {
    let mode = if features.x2apic {
        Mode::X2Apic
    } else {
        let registers_at = base::address();
        if let Some(listed_at) = listed_at.filter(|listed_at| *listed_at != registers_at) {
            let reason = format_args!(
                "the local APIC's registers are not there: the processor has them at {registers_at:#x}"
            );
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

redirectable! {
    /// Turns on this CPU's local APIC, its timer still, whatever firmware or INIT has made of it. Once on each CPU
    /// each time that it comes up.
    pub fn enable(_guard: &IrqGuard, nmi_pins: &[NmiPin], uid: Option<u32>) {
        base::enter(registers::mode(), XAPIC_PHYSICAL.load(Ordering::Relaxed));
        // First, for as long as it is off no entry of the vector table can be unmasked (SDM Vol. 3A, 11.4.7.2).
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
        // Whatever the firmware left behind is not ours to report.
        let _ = read_error_status();
        IS_ENABLED.set(true);
    }
}

/// Whether this CPU's local APIC is on, so that it can send.
pub fn is_enabled(_: &IrqGuard) -> bool {
    IS_ENABLED.get()
}

/// Whether an interrupt waits for this CPU to take it.
pub fn is_any_requested(_: &IrqGuard) -> bool {
    registers::is_any_requested()
}

/// The boot processor's APIC ID, by its local APIC, before [`init`]. `by_cpuid` is CPUID's, which counts where the APIC cannot
/// be read, and whose upper bits an xAPIC does not have.
///
/// **Context:** the boot processor, before the others run.
pub fn own_id(by_cpuid: ApicId) -> ApicId {
    match base::found() {
        base::Found::Off => by_cpuid,
        base::Found::X2Apic => registers::read_x2apic_id(),
        base::Found::XApic(address) => {
            let Ok(page) = memory::map_device(Device::LocalApic, address, FRAME_BYTES) else {
                return by_cpuid;
            };
            // SAFETY: the page is mapped as device memory, and the processor has its local APIC's registers there (`found`).
            let id = unsafe { registers::read_xapic_id(page) };
            // SAFETY: the pointer is not used again; `init` maps the page anew, after this.
            unsafe { memory::unmap_device(address, FRAME_BYTES) };
            if id == by_cpuid.0 as u8 { by_cpuid } else { ApicId(id.into()) }
        }
    }
}

/// This CPU's APIC ID.
#[allow(dead_code, reason = "part of the local APIC's interface")]
pub fn id() -> ApicId {
    registers::read_id()
}

redirect! {
    /// Tells this CPU's local APIC that the interrupt in service is over.
    pub fn end_of_interrupt() = registers::end_of_interrupt_xapic
        => registers::end_of_interrupt_x2apic, if |features| features.x2apic;

    /// Writes the interrupt command register, which sends. For [`icr`] alone, which says when that is right.
    fn write_icr(destination: ApicId, command: u32) = registers::write_icr_xapic
        => registers::write_icr_x2apic, if |features| features.x2apic;

    /// The same with a destination shorthand, whose destination field is ignored (SDM Vol. 3A, 11.6.1).
    fn write_icr_self(command: u32) = registers::write_icr_self_xapic
        => registers::write_icr_self_x2apic, if |features| features.x2apic;
}

/// The error status register: what went wrong since it was last read.
pub fn read_error_status() -> u32 {
    registers::write(Register::ErrorStatus, 0);
    registers::read(Register::ErrorStatus)
}
