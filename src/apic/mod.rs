//! Layer 6: each CPU's local APIC.
//!
//! The `x2apic` crate drives it, in either mode. This module puts right what that crate leaves to its users or gets
//! wrong (read at version 0.5.1):
//! - `enable` starts the timer at once: it is built with a count of 0, which keeps it still;
//! - `enable` writes 0 to LINT0 and LINT1, which unmasks both and drops the NMI pin: [`enable`] writes them again;
//! - in xAPIC mode a destination belongs in the top byte of the ICR, but the crate shifts it by 32 bits only, and
//!   `id` has it there too: [`Destination`] and [`id`] shift;
//! - the ICR of an xAPIC may not be written while an interrupt is on its way: [`send`] waits, with a deadline;
//! - a write to the ICR of an x2APIC is not ordered behind earlier stores (SDM Vol. 3A, 11.12.3): [`send`] fences;
//! - the error register has to be written before it is read (11.5.3), which the crate cannot do: `registers` can;
//! - `send_ipi_self` names a register that an xAPIC has not: nothing here uses it.

mod handlers;
mod registers;

use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use x2apic::lapic::{LocalApic, LocalApicBuilder};
pub use x2apic::lapic::{TimerDivide, TimerMode};

use crate::acpi::NmiPin;
use crate::config::IPI_DELIVERY_MS;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{ApicId, Features, IrqGuard};
use crate::interrupts::Vector;
use crate::memory::{self, MapError};
use crate::sync::{Deadline, TimedOut};
use crate::{per_cpu, redirect, redirectable};

pub use handlers::{Counts, counts, set_timer_hook};
pub use registers::{Mode, mode};

use registers::{ICR_PENDING, Register};

per_cpu! {
    static DRIVER: UnsafeCell<Option<LocalApic>> = UnsafeCell::new(None);
}

/// Where the registers of an xAPIC are mapped; 0 in x2APIC mode.
static XAPIC_BASE: AtomicU64 = AtomicU64::new(0);

/// Why a local APIC cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApicError {
    /// Its registers could not be mapped.
    Map(MapError),
    /// The driver will not have it.
    Driver(&'static str),
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
            ApicError::Driver(reason) => f.write_str(reason),
            ApicError::NotDelivered { to } => {
                write!(f, "an interrupt to APIC ID {to} was not delivered in {IPI_DELIVERY_MS} ms")
            }
        }
    }
}

/// Chooses the mode for all CPUs, maps the registers, and registers the handlers. Once, by the boot processor.
///
/// The mode is x2APIC wherever the processor has it, since only there every APIC ID can be addressed.
pub fn init(features: &Features, registers_at: u64) -> Result<Mode, ApicError> {
    let mode = if features.x2apic {
        Mode::X2Apic
    } else {
        let registers = memory::map_device(registers_at, 4096).map_err(ApicError::Map)?;
        XAPIC_BASE.store(registers.addr().get() as u64, Ordering::Relaxed);
        Mode::XApic
    };
    registers::set_mode(mode, XAPIC_BASE.load(Ordering::Relaxed));
    handlers::register();
    Ok(mode)
}

/// Turns on this CPU's local APIC, its timer still. Once on each CPU.
pub fn enable(guard: &IrqGuard, nmi_pins: &[NmiPin], uid: Option<u32>) -> Result<(), ApicError> {
    let mut builder = LocalApicBuilder::new();
    builder
        .timer_vector(usize::from(Vector::TIMER.get()))
        .error_vector(usize::from(Vector::APIC_ERROR.get()))
        .spurious_vector(usize::from(Vector::SPURIOUS.get()))
        .timer_mode(TimerMode::OneShot)
        .timer_initial(0);
    if registers::mode() == Mode::XApic {
        builder.set_xapic_base(XAPIC_BASE.load(Ordering::Relaxed));
    }
    let mut driver = builder.build().map_err(ApicError::Driver)?;
    // SAFETY: this CPU's own APIC, whose registers are mapped; with interrupts off the moment in which the pins are
    // open and the timer is unmasked goes by unseen.
    unsafe {
        driver.enable();
        driver.disable_timer();
    }
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
    DRIVER.with(guard, |slot| {
        // SAFETY: `enable` runs once on each CPU, and nothing else holds a reference across it: the guard keeps
        // handlers out.
        unsafe { *slot.get() = Some(driver) };
    });
    Ok(())
}

/// Whether this CPU's local APIC is on, so that it can send.
pub fn is_enabled(guard: &IrqGuard) -> bool {
    // SAFETY: as in `with_driver`.
    DRIVER.with(guard, |slot| unsafe { &*slot.get() }.is_some())
}

fn with_driver<R>(guard: &IrqGuard, f: impl FnOnce(&mut LocalApic) -> R) -> R {
    DRIVER.with(guard, |slot| {
        // SAFETY: the driver is this CPU's own, the guard keeps handlers out, and `f` (all of them are in this
        // module) does not come back here. The NMI path goes around it.
        let driver = unsafe { &mut *slot.get() }.as_mut();
        f(driver.expect("the local APIC is used before it is enabled"))
    })
}

/// This CPU's APIC ID.
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
    Nmi,
    /// INIT.
    Init,
    /// A start-up interrupt: begin in real mode at the page of this number.
    StartUp(u8),
}

redirectable! {
    /// Sends a message to the CPU with that APIC ID; returns when it is on its way.
    pub fn send(guard: &IrqGuard, to: ApicId, message: Message) -> Result<(), ApicError> {
        wait_for_idle_icr(to)?;
        match message {
            // On the paths that must be fast, and from an NMI's victim, the register is written without the driver.
            Message::Fixed(vector) => write_icr(to, registers::ICR_ASSERT | u32::from(vector.get())),
            Message::Nmi => write_icr(to, registers::ICR_NMI),
            Message::Init | Message::StartUp(_) => with_driver(guard, |driver| {
                let destination = registers::destination(to);
                registers::fence_before_icr();
                // SAFETY: the driver writes this CPU's ICR; what the message does to its receiver is the sender's purpose.
                unsafe {
                    match message {
                        Message::StartUp(page) => driver.send_sipi(page, destination),
                        _ => driver.send_init_ipi(destination),
                    }
                }
            }),
        }
        Ok(())
    }
}

/// Sends an NMI without the driver: for a CPU that dies, whatever it was doing.
pub fn send_nmi_in_emergency(to: ApicId) {
    if wait_for_idle_icr(to).is_ok() {
        write_icr(to, registers::ICR_NMI);
    }
}

fn wait_for_idle_icr(to: ApicId) -> Result<(), ApicError> {
    if registers::mode() == Mode::X2Apic {
        return Ok(());
    }
    Deadline::after_ms(IPI_DELIVERY_MS)
        .wait_until(|| registers::read(Register::IcrLow) & ICR_PENDING == 0)
        .map_err(|TimedOut| ApicError::NotDelivered { to })
}

/// The error status register: what went wrong since it was last read.
pub fn read_error_status() -> u32 {
    registers::write(Register::ErrorStatus, 0);
    registers::read(Register::ErrorStatus)
}

/// How many APIC timer ticks a timer count stands for under [`set_timer`]'s divider.
pub const TIMER_DIVIDER: u32 = 16;

/// Starts this CPU's timer, from `count` (in units of [`TIMER_DIVIDER`] timer cycles) down to 0; 0 stops it.
pub fn set_timer(guard: &IrqGuard, mode: TimerMode, count: u32) {
    with_driver(guard, |driver| {
        // SAFETY: this CPU's own timer, whose vector has a handler.
        unsafe {
            driver.set_timer_initial(0);
            driver.set_timer_divide(TimerDivide::Div16);
            driver.set_timer_mode(mode);
            driver.enable_timer();
            driver.set_timer_initial(count);
        }
    });
}

/// Runs this CPU's timer from `count` down without an interrupt, for calibration.
pub fn start_timer_masked(guard: &IrqGuard, count: u32) {
    with_driver(guard, |driver| {
        // SAFETY: this CPU's own timer.
        unsafe {
            driver.disable_timer();
            driver.set_timer_divide(TimerDivide::Div16);
            driver.set_timer_mode(TimerMode::OneShot);
            driver.set_timer_initial(count);
        }
    });
}

/// What this CPU's timer has left, in units of [`TIMER_DIVIDER`] timer cycles.
pub fn timer_current() -> u32 {
    registers::read(Register::TimerCurrent)
}
