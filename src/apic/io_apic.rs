//! The I/O APICs (82093AA datasheet, 3.2): which CPU gets a device's interrupt, on which vector.
//!
//! [`init`] masks every pin, [`route`] opens one. The `x2apic` crate drives the registers. What this module does about it
//! (read at version 0.5.1):
//! - `set_table_entry` writes the half with the mask bit first, so that an entry would be live with its old destination:
//!   [`route`] writes it masked, and opens it when it is whole;
//! - `init` gives every pin a vector, unmasked as it may be, by adding bits to the old one: nothing here uses it;
//! - an entry's `mode` panics on the values that the datasheet reserves: nothing here asks for it.

use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;

use heapless::Vec;
use spin::Once;
use x2apic::ioapic::{IoApic, IrqFlags, IrqMode, RedirectionTableEntry};

use crate::acpi::io_apic_probe::{IoApicRegisters, NoIoApic, probe};
use crate::acpi::wiring::{IO_APIC_BYTES, MAX_IO_APICS};
use crate::acpi::{IoApicEntry, Line};
use crate::boot::defect::Defect;
use crate::boot::io_regions::Device;
use crate::boot::report_defect;
use crate::cpu::{ApicId, PAGE_BYTES};
use crate::interrupts::Vector;
use crate::memory::{self, MapError};
use crate::sync::IrqMutex;

/// Where the window register is, in bytes after the index register.
const WINDOW: usize = 0x10;

/// How many I/O APICs that prove to be none are reported each for itself.
const MAX_REFUSED_REPORTED: usize = 4;

struct Chip {
    gsi_base: u32,
    pins: u32,
    driver: IrqMutex<IoApic>,
}

/// The registers of what may be an I/O APIC.
#[derive(Clone, Copy)]
struct Registers(NonNull<u32>);

impl IoApicRegisters for Registers {
    fn index(&self) -> u32 {
        // SAFETY: `Registers` is made in `open` alone, of a mapping of `memory::map_device` that stays while it is in use.
        unsafe { self.0.read_volatile() }
    }

    fn set_index(&self, index: u32) {
        // SAFETY: `open` alone makes `Registers`, of a mapping that stays; the address is a device's alone, which `memory::map_device` has checked, and an I/O
        // APIC's index register has no effect of its own.
        unsafe { self.0.write_volatile(index) };
    }

    fn window(&self) -> u32 {
        // SAFETY: `open` alone makes `Registers`, of a mapping that stays; the window lies within the bytes that are mapped.
        unsafe { self.0.byte_add(WINDOW).read_volatile() }
    }
}

/// An I/O APIC that answers as one.
#[derive(Clone)]
struct Found {
    registers: Registers,
    gsis: Range<u32>,
}

/// Why an I/O APIC of the firmware's list is not used.
enum Refusal {
    Map(MapError),
    Absent(NoIoApic),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Map(error) => error.fmt(f),
            Refusal::Absent(reason) => reason.fmt(f),
        }
    }
}

static CHIPS: Once<&'static [Chip]> = Once::new();
crate::name_lock!(CHIPS, |_, is_so| CHIPS
    .get()
    .is_some_and(|chips| chips.iter().any(|chip| is_so(chip.driver.owner()))));

/// Why a device's interrupt goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoApicError {
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
            IoApicError::OutOfMemory => f.write_str("too little memory for the list of I/O APICs"),
            IoApicError::NoPin { gsi } => write!(f, "no I/O APIC has a pin for global interrupt {gsi}"),
            IoApicError::OutOfReach { to } => write!(f, "no I/O APIC reaches APIC ID {to}"),
        }
    }
}

/// Finds the I/O APICs and masks all their pins; returns how many pins there are. One that cannot be used is left out with
/// a warning.
///
/// **Context**: once, by the BSP, before the APs run.
///
/// # Errors
/// [`IoApicError::OutOfMemory`]
pub fn init(entries: &[IoApicEntry]) -> Result<u32, IoApicError> {
    let mut found: Vec<Found, MAX_IO_APICS> = Vec::new();
    let mut refused = 0;
    for entry in entries {
        match open(entry, &found) {
            // The list of entries is no longer than this one.
            Ok(chip) => drop(found.push(chip)),
            Err(refusal) => {
                refused += 1;
                if refused <= MAX_REFUSED_REPORTED {
                    let reason = format_args!("I/O APIC {} of the MADT: {refusal}: not used", entry.id);
                    let address = Some(entry.address.into());
                    report_defect(&Defect { table: "I/O APIC", address, offset: None, reason });
                }
            }
        }
    }
    if let more @ 1.. = refused.saturating_sub(MAX_REFUSED_REPORTED) {
        let reason = format_args!("{more} more of the MADT are not used");
        report_defect(&Defect { table: "I/O APIC", address: None, offset: None, reason });
    }
    let chips = memory::alloc_slice_from(found.iter().map(Chip::new)).ok_or(IoApicError::OutOfMemory)?;
    for chip in chips.iter() {
        let mut driver = chip.driver.lock();
        for pin in 0..chip.pins as u8 {
            // SAFETY: the chip has the pin, and a masked pin does nothing.
            unsafe { driver.disable_irq(pin) };
        }
        log::debug!("I/O APIC: {} pins, from GSI {} on", chip.pins, chip.gsi_base);
    }
    Ok(CHIPS.call_once(|| chips).iter().map(|chip| chip.pins).sum())
}

/// Maps the registers and looks whether an I/O APIC answers; if not, nothing stays mapped.
fn open(entry: &IoApicEntry, others: &[Found]) -> Result<Found, Refusal> {
    let address = u64::from(entry.address);
    let registers = memory::map_device(Device::IoApic, address, IO_APIC_BYTES).map_err(Refusal::Map)?;
    let registers = Registers(registers.cast());
    let known = others.iter().map(|found| (&found.registers, found.gsis.clone()));
    match probe(&registers, entry.gsi_base, known) {
        Ok(gsis) => Ok(Found { registers, gsis }),
        Err(reason) => {
            let page = |registers: &Registers| registers.0.addr().get() / PAGE_BYTES;
            let is_shared = others.iter().any(|other| page(&other.registers) == page(&registers));
            if !is_shared {
                // SAFETY: no I/O APIC in use has registers in the page, and `registers` ends here.
                unsafe { memory::unmap_device(address, IO_APIC_BYTES) };
            }
            Err(Refusal::Absent(reason))
        }
    }
}

impl Chip {
    fn new(found: &Found) -> Chip {
        // SAFETY: the registers are mapped uncached for the kernel's lifetime, for `open` unmaps only pages of chips that it
        // refuses; `probe` has found them to be no other chip's, and `init`, which is called once, drops all `Registers`.
        let driver = unsafe { IoApic::new(found.registers.0.addr().get() as u64) };
        Chip { gsi_base: found.gsis.start, pins: found.gsis.len() as u32, driver: IrqMutex::new(driver) }
    }
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
        for pin in 0..chip.pins as u8 {
            // SAFETY: the chip has the pin, and reading an entry has no effect.
            let mut entry = unsafe { driver.table_entry(pin) };
            let flags = entry.flags();
            if flags.contains(IrqFlags::MASKED) || entry.dest() != from {
                continue;
            }
            entry.set_dest(destination.ok_or(IoApicError::OutOfReach { to })?);
            entry.set_flags(flags | IrqFlags::MASKED);
            // SAFETY: the chip has the pin; the pin is masked while its entry, which keeps its vector, changes.
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
