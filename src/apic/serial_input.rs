//! The serial port's interrupt, from its pin to the console.

use core::fmt;

use spin::Once;

use super::end_of_interrupt;
use super::io_apic::{self, IoApicError};
use crate::acpi::{self, Line, PinRule, WiringError};
use crate::console;
use crate::cpu::ApicId;
use crate::interrupts::{self, Frame, Vector};

/// COM1's place among the legacy interrupts.
const ISA_IRQ: u8 = 4;

static LINE: Once<Line> = Once::new();

/// Why nothing is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SerialInputError {
    /// The port's interrupt has no pin of its own.
    Wiring(WiringError),
    /// The pin leads nowhere.
    IoApic(IoApicError),
    /// There is no port.
    NoPort,
}

impl fmt::Display for SerialInputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SerialInputError::Wiring(error) => error.fmt(f),
            SerialInputError::IoApic(error) => error.fmt(f),
            SerialInputError::NoPort => f.write_str("no port"),
        }
    }
}

/// Opens the way from the port to the CPU with that APIC ID, and gives the pin's global interrupt number. Once, by the
/// boot processor, after [`io_apic::init`].
pub fn init(rules: &[PinRule], to: ApicId) -> Result<u32, SerialInputError> {
    let line = acpi::isa_line(ISA_IRQ, rules).map_err(SerialInputError::Wiring)?;
    interrupts::register(Vector::SERIAL, "serial port", serve);
    io_apic::route(line, Vector::SERIAL, to).map_err(SerialInputError::IoApic)?;
    LINE.call_once(|| line);
    // The pin comes first: a byte that is there already interrupts once, when the port may.
    if console::listen() { Ok(line.gsi) } else { Err(SerialInputError::NoPort) }
}

/// Whether [`init`] has found a way.
pub fn is_open() -> bool {
    LINE.get().is_some()
}

/// From now on another CPU takes the port's interrupt.
pub fn move_to(cpu: ApicId) -> Result<(), IoApicError> {
    let line = LINE.get().ok_or(IoApicError::NoPin { gsi: ISA_IRQ.into() })?;
    io_apic::route(*line, Vector::SERIAL, cpu)?;
    // An edge that came while the pin was masked is lost.
    console::renew_interrupt();
    Ok(())
}

fn serve(_: &mut Frame) {
    // Before the port is served: what comes meanwhile interrupts again.
    end_of_interrupt();
    console::serve();
}
