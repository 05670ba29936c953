//! The serial port's interrupt: its route through an I/O APIC, and its handler.

use core::fmt;

use spin::Once;

use super::end_of_interrupt;
use super::io_apic::{self, IoApicError};
use crate::acpi::{self, InterruptSource, IrqRoute, IrqRouteError};
use crate::console;
use crate::cpu::ApicId;
use crate::interrupts::{self, TrapFrame, Vector};

/// COM1's ISA interrupt.
const ISA_IRQ: u8 = 4;

static ROUTE: Once<IrqRoute> = Once::new();

/// The reason why the serial port raises no interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SerialInputError {
    /// The port's interrupt has no pin of its own.
    Route(IrqRouteError),
    /// The interrupt cannot be routed.
    IoApic(IoApicError),
    /// There is no serial port.
    NoPort,
}

impl fmt::Display for SerialInputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SerialInputError::Route(error) => error.fmt(f),
            SerialInputError::IoApic(error) => error.fmt(f),
            SerialInputError::NoPort => f.write_str("no port"),
        }
    }
}

/// Routes the port's interrupt to the CPU with APIC ID `to` and enables it. Returns the pin's GSI number.
///
/// **Context:** the BSP, once, after [`io_apic::init`].
///
/// # Errors
/// [`SerialInputError`]: the port raises no interrupts.
pub(crate) fn init(rules: &[InterruptSource], to: ApicId) -> Result<u32, SerialInputError> {
    let route = acpi::isa_route(ISA_IRQ, rules).map_err(SerialInputError::Route)?;
    interrupts::register(Vector::SERIAL, "serial port", serve);
    io_apic::route(route, Vector::SERIAL, to).map_err(SerialInputError::IoApic)?;
    ROUTE.call_once(|| route);
    // The route comes first: a byte that has already arrived interrupts once, when the port's interrupt is enabled.
    if console::listen() { Ok(route.gsi) } else { Err(SerialInputError::NoPort) }
}

/// Returns whether [`init`] has routed the interrupt. **Context:** any.
pub(crate) fn is_open() -> bool {
    ROUTE.get().is_some()
}

/// Reroutes the port's interrupt to another CPU.
///
/// **Context:** thread; interrupts on or off.
///
/// # Errors
/// As for [`io_apic::route`].
pub(crate) fn reroute(cpu: ApicId) -> Result<(), IoApicError> {
    let route = ROUTE.get().ok_or(IoApicError::NoPin { gsi: ISA_IRQ.into() })?;
    io_apic::route(*route, Vector::SERIAL, cpu)?;
    // An edge while the pin was masked is lost.
    console::renew_interrupt();
    Ok(())
}

fn serve(_: &mut TrapFrame) {
    // Before the port is served, so that a byte which arrives meanwhile interrupts again.
    end_of_interrupt();
    console::serve();
}
