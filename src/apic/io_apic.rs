//! The I/O APICs (82093AA datasheet, 3.2): routing of device interrupts to CPUs and vectors.
//!
//! [`init`] masks every pin, [`route`] unmasks one. The `x2apic` crate drives the registers. Of version 0.5.1 these
//! functions need care:
//! - `set_table_entry` writes the half with the mask bit first, so an unmasked entry would be live with its old
//!   destination. [`route`] writes the entry masked, and unmasks it when it is complete.
//! - `init` gives every pin a vector by adding bits to the old one, and may leave it unmasked. It is not used.
//! - An entry's `mode` panics on values that the datasheet reserves. It is not used.

use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;

use heapless::Vec;
use spin::Once;
use x2apic::ioapic::{IoApic, IrqFlags, IrqMode, RedirectionTableEntry};

use crate::acpi::io_apic_probe::{IoApicProbeError, IoApicRegisters, probe};
use crate::acpi::irq_routing::{IO_APIC_BYTES, MAX_IO_APICS};
use crate::acpi::{IoApicEntry, IrqRoute};
use crate::boot::defect::Defect;
use crate::boot::io_regions::Device;
use crate::boot::report_defect;
use crate::cpu::{ApicId, PAGE_BYTES};
use crate::interrupts::Vector;
use crate::memory::{self, MapError};
use crate::sync::SpinLockIrq;

/// The offset in bytes of the window register from the index register.
const WINDOW: usize = 0x10;

/// The maximum number of invalid I/O APICs that are reported individually.
const MAX_REFUSED_REPORTED: usize = 4;

struct Chip {
    gsi_base: u32,
    pins: u32,
    driver: SpinLockIrq<IoApic>,
}

/// The registers of a possible I/O APIC.
#[derive(Clone, Copy)]
struct Registers(NonNull<u32>);

impl IoApicRegisters for Registers {
    fn index(&self) -> u32 {
        // SAFETY: only `open` makes `Registers`, from a mapping of `memory::map_device` that exists as long as they are
        // in use.
        unsafe { self.0.read_volatile() }
    }

    fn set_index(&self, index: u32) {
        // SAFETY: only `open` makes `Registers`, from a mapping that exists as long as they are in use.
        // `memory::map_device` has checked that the address belongs to a device, and a write to an I/O APIC's index
        // register has no side effect.
        unsafe { self.0.write_volatile(index) };
    }

    fn window(&self) -> u32 {
        // SAFETY: the sum must stay within one object: `open` has mapped `IO_APIC_BYTES` from there, which exceeds `WINDOW`.
        let window = unsafe { self.0.byte_add(WINDOW) };
        // SAFETY: only `open` makes `Registers`, from a mapping that exists as long as they are in use. The window lies
        // within the mapped bytes.
        unsafe { window.read_volatile() }
    }
}

/// An I/O APIC that `probe` has accepted.
#[derive(Clone)]
struct Found {
    registers: Registers,
    gsis: Range<u32>,
}

/// The reason why an I/O APIC of the MADT is not used.
enum Refusal {
    Map(MapError),
    Absent(IoApicProbeError),
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

/// The reason why a device interrupt cannot be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoApicError {
    /// No memory for the list of I/O APICs.
    OutOfMemory,
    /// No I/O APIC has the pin.
    NoPin {
        /// The pin's global system interrupt (GSI) number.
        gsi: u32,
    },
    /// The APIC ID does not fit into an I/O APIC's destination field of 8 bits, where 255 is the broadcast ID. It needs
    /// interrupt remapping.
    OutOfReach {
        /// The CPU.
        to: ApicId,
    },
}

impl fmt::Display for IoApicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IoApicError::OutOfMemory => f.write_str("out of memory for the list of I/O APICs"),
            IoApicError::NoPin { gsi } => write!(f, "no I/O APIC has GSI {gsi}"),
            IoApicError::OutOfReach { to } => {
                write!(f, "APIC ID {to} does not fit into an I/O APIC's destination")
            }
        }
    }
}

/// Probes the I/O APICs of the MADT and masks all their pins. Returns the number of pins. An unusable I/O APIC is skipped
/// with a warning.
///
/// **Context:** the BSP, once, before the APs run.
///
/// # Errors
/// [`IoApicError::OutOfMemory`]
pub(crate) fn init(entries: &[IoApicEntry]) -> Result<u32, IoApicError> {
    let mut found: Vec<Found, MAX_IO_APICS> = Vec::new();
    let mut refused = 0;
    for entry in entries {
        match open(entry, &found) {
            // The list of entries is not longer than `found`'s capacity.
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
        let reason = format_args!("{more} more I/O APICs of the MADT are not used");
        report_defect(&Defect { table: "I/O APIC", address: None, offset: None, reason });
    }
    let chips = memory::alloc_slice_from(found.iter().map(Chip::new)).ok_or(IoApicError::OutOfMemory)?;
    for chip in chips.iter() {
        let mut driver = chip.driver.lock();
        for pin in 0..chip.pins as u8 {
            // SAFETY: the I/O APIC has the pin, and masking a pin has no other effect.
            unsafe { driver.disable_irq(pin) };
        }
        log::debug!("I/O APIC: {} pins, GSI base {}", chip.pins, chip.gsi_base);
    }
    Ok(CHIPS.call_once(|| chips).iter().map(|chip| chip.pins).sum())
}

/// Maps the registers and probes for an I/O APIC. If there is none, the mapping is removed.
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
                // SAFETY: no I/O APIC in use has registers in the page (`is_shared`), and `registers` is not used again.
                unsafe { memory::unmap_device(address, IO_APIC_BYTES) };
            }
            Err(Refusal::Absent(reason))
        }
    }
}

impl Chip {
    fn new(found: &Found) -> Chip {
        // SAFETY: the registers are mapped uncached for the kernel's lifetime: `open` unmaps only pages of I/O APICs that
        // it rejects. `probe` has checked that no other I/O APIC has them, and `init`, which is called once, drops all
        // `Registers`.
        let driver = unsafe { IoApic::new(found.registers.0.addr().get() as u64) };
        Chip { gsi_base: found.gsis.start, pins: found.gsis.len() as u32, driver: SpinLockIrq::new(driver) }
    }
}

/// Routes the interrupts of `route` to the CPU with APIC ID `to`, on `vector`. The handler acknowledges them to the local
/// APIC. A second call reroutes the interrupt; one that is pending may still arrive at the old destination.
///
/// **Context:** thread or interrupt; not NMI. Takes a lock.
///
/// # Errors
/// [`IoApicError::NoPin`], [`IoApicError::OutOfReach`]. Nothing has changed then.
pub(crate) fn route(route: IrqRoute, vector: Vector, to: ApicId) -> Result<(), IoApicError> {
    let destination = u8::try_from(to.0).ok().filter(|_| to < ApicId::XAPIC_BROADCAST);
    let destination = destination.ok_or(IoApicError::OutOfReach { to })?;
    let has_pin = |chip: &&Chip| route.gsi.checked_sub(chip.gsi_base).is_some_and(|pin| pin < chip.pins);
    let chips = CHIPS.get().copied().unwrap_or_default();
    let chip = chips.iter().find(has_pin).ok_or(IoApicError::NoPin { gsi: route.gsi })?;
    let mut driver = chip.driver.lock();
    let pin = (route.gsi - chip.gsi_base) as u8;

    let mut flags = IrqFlags::MASKED;
    flags.set(IrqFlags::LOW_ACTIVE, route.active_low);
    flags.set(IrqFlags::LEVEL_TRIGGERED, route.level_triggered);
    let mut entry = RedirectionTableEntry::default();
    entry.set_vector(vector.get());
    entry.set_mode(IrqMode::Fixed);
    entry.set_flags(flags);
    entry.set_dest(destination);
    // SAFETY: the I/O APIC has the pin (`has_pin`).
    unsafe { driver.disable_irq(pin) };
    // SAFETY: the I/O APIC has the pin (`has_pin`), which is masked while its entry changes.
    unsafe { driver.set_table_entry(pin, entry) };
    // SAFETY: the I/O APIC has the pin (`has_pin`). Its entry is complete, and the vector in it has a gate, as all have.
    unsafe { driver.enable_irq(pin) };
    Ok(())
}

/// Reroutes all interrupts from the CPU with APIC ID `from` to the CPU with APIC ID `to`. Returns their number. An
/// interrupt that is pending may still arrive at the old destination.
///
/// **Context:** thread or interrupt; not NMI. Takes a lock.
///
/// # Errors
/// [`IoApicError::OutOfReach`]. Nothing has changed then.
pub(crate) fn move_all(from: ApicId, to: ApicId) -> Result<u32, IoApicError> {
    let Ok(from) = u8::try_from(from.0) else { return Ok(0) };
    let destination = u8::try_from(to.0).ok().filter(|_| to < ApicId::XAPIC_BROADCAST);
    let mut moved = 0;
    for chip in CHIPS.get().copied().unwrap_or_default() {
        let mut driver = chip.driver.lock();
        for pin in 0..chip.pins as u8 {
            // SAFETY: the I/O APIC has the pin, and reading an entry has no effect.
            let mut entry = unsafe { driver.table_entry(pin) };
            let flags = entry.flags();
            if flags.contains(IrqFlags::MASKED) || entry.dest() != from {
                continue;
            }
            entry.set_dest(destination.ok_or(IoApicError::OutOfReach { to })?);
            entry.set_flags(flags | IrqFlags::MASKED);
            // SAFETY: the I/O APIC has the pin: the loop runs over its pins.
            unsafe { driver.disable_irq(pin) };
            // SAFETY: the I/O APIC has the pin, which is masked while its entry changes.
            unsafe { driver.set_table_entry(pin, entry) };
            // SAFETY: the I/O APIC has the pin, whose entry is complete and has kept its vector.
            unsafe { driver.enable_irq(pin) };
            moved += 1;
        }
    }
    Ok(moved)
}
