//! Layer 6: each CPU's local APIC, and in [`io_apic`] what brings devices' interrupts to it.
//!
//! Both modes, xAPIC through memory and x2APIC through MSRs, have the same registers but for the interrupt command
//! register; `registers` hides the difference. The crate `x2apic` drives the I/O APICs ([`io_apic`]). Its `LocalApic` is not
//! used: it takes the mode from CPUID alone, so that a processor that has x2APIC could not be used without it, and it
//! unmasks both pins and the timer when it turns an APIC on.
//!
//! What bites: the ICR of an xAPIC may not be written while an interrupt is on its way ([`send`] waits, with a deadline); a
//! write to that of an x2APIC is not ordered behind earlier stores (SDM Vol. 3A, 11.12.3: it fences); the error status
//! register has to be written before it is read (11.5.3).

mod base;
mod handlers;
pub mod io_apic;
mod registers;
pub mod serial_input;
mod timer;

use core::cell::Cell;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::acpi::NmiPin;
use crate::boot::defect::Defect;
use crate::boot::report_defect;
use crate::boot::windows::Device;
use crate::config::IPI_DELIVERY_MS;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{ApicId, Features, IrqGuard};
use crate::interrupts::Vector;
use crate::memory::{self, MapError};
use crate::sync::{Deadline, TimedOut};
use crate::{per_cpu, redirect, redirectable};

#[cfg(feature = "faults")]
pub use base::set_x2apic_as_firmware;
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
    /// An interrupt to another CPU stayed on its way.
    NotDelivered {
        /// Whom it was for.
        to: ApicId,
    },
}

impl fmt::Display for ApicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApicError::Map(error) => write!(f, "the local APIC's registers: {error}"),
            ApicError::NotDelivered { to } => {
                write!(f, "an interrupt to APIC ID {to} was not delivered in {IPI_DELIVERY_MS} ms")
            }
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
        let registers = memory::map_device(Device::LocalApic, registers_at, 4096).map_err(ApicError::Map)?;
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

/// This CPU's APIC ID.
#[allow(dead_code, reason = "part of the local APIC's interface")]
pub fn id() -> ApicId {
    registers::read_id()
}

redirect! {
    /// Tells this CPU's local APIC that the interrupt in service is over.
    pub fn end_of_interrupt() = registers::end_of_interrupt_xapic
        => registers::end_of_interrupt_x2apic, if |features| features.x2apic;

    /// Writes the interrupt command register, which sends. The CPU's interrupts are off.
    fn write_icr(destination: ApicId, command: u32) = registers::write_icr_xapic
        => registers::write_icr_x2apic, if |features| features.x2apic;
}

/// What to send to another CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// An interrupt.
    Fixed(Vector),
    /// A non-maskable interrupt.
    #[allow(dead_code, reason = "part of the local APIC's interface")]
    Nmi,
    /// INIT.
    Init,
    /// A start-up interrupt: begin in real mode at the page of this number.
    StartUp(u8),
}

redirectable! {
    /// Sends a message to the CPU with that APIC ID; returns when it is on its way.
    pub fn send(_guard: &IrqGuard, to: ApicId, message: Message) -> Result<(), ApicError> {
        wait_for_idle_icr(to)?;
        let command = match message {
            Message::Fixed(vector) => registers::ICR_ASSERT | u32::from(vector.get()),
            Message::Nmi => registers::ICR_NMI,
            Message::Init => registers::ICR_INIT,
            Message::StartUp(page) => registers::ICR_START_UP | u32::from(page),
        };
        write_icr(to, command);
        Ok(())
    }
}

/// Interrupts this CPU itself, once interrupts are on.
#[inline]
pub fn send_to_self(_: &IrqGuard, vector: Vector) -> Result<(), ApicError> {
    let anybody = ApicId(0);
    wait_for_idle_icr(anybody)?;
    write_icr(anybody, registers::ICR_ASSERT | registers::ICR_SELF | u32::from(vector.get()));
    Ok(())
}

/// Sends an NMI, without a proof that interrupts are off: for a CPU that dies, whatever it was doing.
pub fn send_nmi_in_emergency(to: ApicId) {
    if wait_for_idle_icr(to).is_ok() {
        write_icr(to, registers::ICR_NMI);
    }
}

#[inline]
fn wait_for_idle_icr(to: ApicId) -> Result<(), ApicError> {
    // The rule, for which no deadline has to be worked out.
    if registers::icr_is_idle() { Ok(()) } else { wait_for_busy_icr(to) }
}

#[cold]
fn wait_for_busy_icr(to: ApicId) -> Result<(), ApicError> {
    Deadline::after_ms(IPI_DELIVERY_MS)
        .wait_until(registers::icr_is_idle)
        .map_err(|TimedOut| ApicError::NotDelivered { to })
}

/// The error status register: what went wrong since it was last read.
pub fn read_error_status() -> u32 {
    registers::write(Register::ErrorStatus, 0);
    registers::read(Register::ErrorStatus)
}
