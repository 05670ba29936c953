//! The I/O APICs (82093AA datasheet, 3.2): which CPU gets a device's interrupt, on which vector.
//!
//! [`init`] masks every pin, [`route`] opens one. The `x2apic` crate drives the registers. What this module does about it
//! (read at version 0.5.1):
//! - `set_table_entry` writes the half with the mask bit first, so that an entry would be live with its old destination:
//!   [`route`] writes it masked, and opens it when it is whole;
//! - `init` gives every pin a vector, unmasked as it may be, by adding bits to the old one: nothing here uses it;
//! - an entry's `mode` panics on the values that the datasheet reserves: nothing here asks for it.

use core::fmt;

use spin::Once;
use x2apic::ioapic::{IoApic, IrqFlags, IrqMode, RedirectionTableEntry};

use crate::acpi::{IoApicEntry, Line};
use crate::cpu::ApicId;
use crate::interrupts::Vector;
use crate::memory::{self, MapError};
use crate::sync::IrqMutex;

/// The registers: the index at 0, the window at 0x10.
const REGISTER_BYTES: u64 = 0x14;

/// As many pins as the version register's field can name, all ones: what nobody answers reads as.
const PINS_OF_NOBODY: u32 = 256;

struct Chip {
    gsi_base: u32,
    pins: u32,
    /// None where the firmware lists what is not there.
    driver: IrqMutex<Option<IoApic>>,
}

static CHIPS: Once<&'static [Chip]> = Once::new();

/// Why a device's interrupt goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoApicError {
    /// An I/O APIC's registers could not be mapped.
    Map {
        /// Where they are, physical.
        address: u32,
        /// Why not.
        error: MapError,
    },
    /// There is no I/O APIC where the firmware says.
    Absent {
        /// Where, physical.
        address: u32,
    },
    /// No memory for the list.
    OutOfMemory,
    /// No I/O APIC has the pin.
    NoPin {
        /// Its global interrupt number.
        gsi: u32,
    },
    /// An I/O APIC's destination has 8 bits, of which 255 means every CPU. Others need interrupt remapping.
    OutOfReach {
        /// The CPU.
        to: ApicId,
    },
}

impl fmt::Display for IoApicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IoApicError::Map { address, error } => write!(f, "the I/O APIC at {address:#x}: {error}"),
            IoApicError::Absent { address } => write!(f, "there is no I/O APIC at {address:#x}"),
            IoApicError::OutOfMemory => f.write_str("too little memory for the list of I/O APICs"),
            IoApicError::NoPin { gsi } => write!(f, "no I/O APIC has a pin for global interrupt {gsi}"),
            IoApicError::OutOfReach { to } => write!(f, "no I/O APIC reaches APIC ID {to}"),
        }
    }
}

/// Finds the I/O APICs and masks all their pins; gives how many pins there are. Once, by the boot processor, in any
/// context. One that cannot be used is left out with a warning.
///
/// # Errors
/// [`IoApicError::OutOfMemory`]
pub fn init(entries: &[IoApicEntry]) -> Result<u32, IoApicError> {
    let none_yet =
        |entry: &IoApicEntry| Chip { gsi_base: entry.gsi_base, pins: 0, driver: IrqMutex::new(None) };
    let chips = memory::alloc_slice_from(entries.iter().map(none_yet)).ok_or(IoApicError::OutOfMemory)?;
    for (chip, entry) in chips.iter_mut().zip(entries) {
        match open(entry) {
            Ok((driver, pins)) => (chip.pins, chip.driver) = (pins, IrqMutex::new(Some(driver))),
            Err(error) => log::warn!("{error}: going on without it"),
        }
    }
    Ok(CHIPS.call_once(|| chips).iter().map(|chip| chip.pins).sum())
}

fn open(entry: &IoApicEntry) -> Result<(IoApic, u32), IoApicError> {
    let address = entry.address;
    let registers = memory::map_device(address.into(), REGISTER_BYTES)
        .map_err(|error| IoApicError::Map { address, error })?;
    // SAFETY: the registers are mapped uncached for good, and nothing else touches them: the firmware's list, which
    // `init` goes through once, is the only place where their address is known.
    let mut driver = unsafe { IoApic::new(registers.addr().get() as u64) };
    // SAFETY: the registers are the driver's, and reading the version has no effect.
    let last = unsafe { driver.max_table_entry() };
    if u32::from(last) + 1 == PINS_OF_NOBODY {
        return Err(IoApicError::Absent { address });
    }
    for pin in 0..=last {
        // SAFETY: the chip has the pin, and a masked pin does nothing.
        unsafe { driver.disable_irq(pin) };
    }
    let pins = u32::from(last) + 1;
    log::debug!("I/O APIC at {address:#x}: {pins} pins, from GSI {} on", entry.gsi_base);
    Ok((driver, pins))
}

/// From now on the line's interrupts go to the CPU with that APIC ID, on `vector`, whose handler acknowledges them to the
/// local APIC. Any context but an NMI. A line that was routed before is moved; an interrupt that is on its way
/// may still come to the old place.
///
/// # Errors
/// [`IoApicError::NoPin`], [`IoApicError::OutOfReach`]; then nothing has changed.
pub fn route(line: Line, vector: Vector, to: ApicId) -> Result<(), IoApicError> {
    let destination = u8::try_from(to.0).ok().filter(|_| to < ApicId::XAPIC_BROADCAST);
    let destination = destination.ok_or(IoApicError::OutOfReach { to })?;
    let has_pin = |chip: &&Chip| line.gsi.checked_sub(chip.gsi_base).is_some_and(|pin| pin < chip.pins);
    let chips = CHIPS.get().copied().unwrap_or_default();
    let chip = chips.iter().find(has_pin).ok_or(IoApicError::NoPin { gsi: line.gsi })?;
    let mut driver = chip.driver.lock();
    let driver = driver.as_mut().ok_or(IoApicError::NoPin { gsi: line.gsi })?;
    let pin = (line.gsi - chip.gsi_base) as u8;

    let mut flags = IrqFlags::MASKED;
    flags.set(IrqFlags::LOW_ACTIVE, line.active_low);
    flags.set(IrqFlags::LEVEL_TRIGGERED, line.level_triggered);
    let mut entry = RedirectionTableEntry::default();
    entry.set_vector(vector.get());
    entry.set_mode(IrqMode::Fixed);
    entry.set_flags(flags);
    entry.set_dest(destination);
    // SAFETY: the chip has the pin; the entry is whole before it is opened, and its vector has a gate, as all have.
    unsafe {
        driver.disable_irq(pin);
        driver.set_table_entry(pin, entry);
        driver.enable_irq(pin);
    }
    Ok(())
}

/// Every line whose interrupts go to the first CPU goes to the second from now on; how many they were. Any context but an
/// NMI. An interrupt that is on its way still comes to the old place.
///
/// # Errors
/// [`IoApicError::OutOfReach`]; then nothing has changed.
pub fn move_all(from: ApicId, to: ApicId) -> Result<u32, IoApicError> {
    let Ok(from) = u8::try_from(from.0) else { return Ok(0) };
    let destination = u8::try_from(to.0).ok().filter(|_| to < ApicId::XAPIC_BROADCAST);
    let mut moved = 0;
    for chip in CHIPS.get().copied().unwrap_or_default() {
        let mut driver = chip.driver.lock();
        let Some(driver) = driver.as_mut() else { continue };
        for pin in 0..chip.pins as u8 {
            // SAFETY: the chip has the pin, and reading an entry has no effect.
            let mut entry = unsafe { driver.table_entry(pin) };
            let flags = entry.flags();
            if flags.contains(IrqFlags::MASKED) || entry.dest() != from {
                continue;
            }
            entry.set_dest(destination.ok_or(IoApicError::OutOfReach { to })?);
            entry.set_flags(flags | IrqFlags::MASKED);
            // SAFETY: as in `route`.
            unsafe {
                driver.disable_irq(pin);
                driver.set_table_entry(pin, entry);
                driver.enable_irq(pin);
            }
            moved += 1;
        }
    }
    Ok(moved)
}
