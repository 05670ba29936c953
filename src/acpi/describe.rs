//! The machine's description, from its ACPI tables. Pure, so that the host can run it on any tables.

use core::fmt;

use super::entries::EntryError;
use super::irq_routing::IrqRouting;
use super::madt::Madt;
use super::reset::{ResetRegister, reset_register};
use super::slit::Slit;
use super::srat::Srat;
use super::tables::{Table, Tables};
use super::timers::{PmTimer, RegisterError, hpet_address, pm_timer};
use crate::boot::defect::{Defect, DefectSink};
use crate::boot::io_regions::Device;
use crate::boot::physical::AddressFault;

/// The maximum number of invalid MADT entries that are reported individually.
const MAX_ENTRIES_REPORTED: u32 = 4;

/// Bytes of an HPET's registers (IA-PC HPET specification 1.0a, §2.3.1).
pub(crate) const HPET_BYTES: u64 = 1024;

/// Checks whether a device's registers can lie at an address, and reserves the range if so: device, address, length in
/// bytes.
pub(crate) type ClaimRegisters<'a> = &'a mut dyn FnMut(Device, u64, u64) -> Result<(), AddressFault>;

/// The content of the tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Description<'a> {
    /// The MADT and its physical address.
    pub madt: Option<(Madt<'a>, u64)>,
    /// The routing of device interrupts.
    pub irq_routing: IrqRouting,
    /// The power management timer.
    pub pm_timer: Option<PmTimer>,
    /// The physical address of the HPET's registers. The driver checks whether they exist.
    pub hpet: Option<u64>,
    /// The reset register.
    pub reset: Option<ResetRegister>,
    /// The SRAT and its physical address.
    pub srat: Option<(Srat<'a>, u64)>,
    /// The SLIT.
    pub slit: Option<Slit<'a>>,
}

impl<'a> Description<'a> {
    /// Reads the tables. Invalid items are skipped and reported to `defects`.
    pub(crate) fn read(
        tables: &Tables<'a>,
        claim: ClaimRegisters<'_>,
        defects: DefectSink<'_>,
    ) -> Description<'a> {
        let mut description = Description::default();
        if let Some(table) = tables.madt {
            match Madt::parse(table.bytes) {
                Ok(madt) => {
                    report_entries(&madt, table.address, defects);
                    let mut claim = |address, bytes| claim(Device::IoApic, address, bytes);
                    description.irq_routing = IrqRouting::read(&madt, table.address, &mut claim, defects);
                    description.madt = Some((madt, table.address));
                }
                Err(error) => report("MADT", table, format_args!("{error}: not used"), defects),
            }
        }
        if description.madt.is_none() {
            let reason = format_args!("no usable MADT: falling back to one CPU");
            defects(&Defect { table: "RSDP", address: tables.rsdp, offset: None, reason });
        }
        if let Some(table) = tables.hpet {
            let address = hpet_address(table.bytes).and_then(|address| {
                let claimed = claim(Device::Hpet, address, HPET_BYTES);
                claimed.map(|()| address).map_err(|fault| RegisterError::Address { address, fault })
            });
            match address {
                Ok(address) => description.hpet = Some(address),
                Err(fault) => report("HPET", table, format_args!("the timer {fault}: not used"), defects),
            }
        }
        if let Some(table) = tables.fadt {
            description.read_fadt(table, claim, defects);
        }
        if let Some(table) = tables.srat {
            match Srat::parse(table.bytes) {
                Ok(srat) => description.srat = Some((srat, table.address)),
                Err(error) => report("SRAT", table, format_args!("{error}: not used"), defects),
            }
        }
        if let Some(table) = tables.slit {
            match Slit::parse(table.bytes) {
                Ok(slit) => description.slit = Some(slit),
                Err(error) => {
                    let reason = format_args!("{error}: ignoring SLIT, using uniform distances");
                    report("SLIT", table, reason, defects);
                }
            }
        }
        description
    }

    fn read_fadt(&mut self, table: Table<'a>, claim: ClaimRegisters<'_>, defects: DefectSink<'_>) {
        match pm_timer(table.bytes) {
            Ok(timer) => self.pm_timer = timer,
            Err(fault) => report("FADT", table, format_args!("the PM timer {fault}: not used"), defects),
        }
        let reset = reset_register(table.bytes).and_then(|register| {
            if let Some(ResetRegister::Memory { address, .. }) = register {
                let claimed = claim(Device::ResetRegister, address, 1);
                claimed.map_err(|fault| RegisterError::Address { address, fault })?;
            }
            Ok(register)
        });
        match reset {
            Ok(register) => self.reset = register,
            Err(fault) => {
                report("FADT", table, format_args!("the reset register {fault}: not used"), defects);
            }
        }
    }
}

fn report(name: &'static str, table: Table<'_>, reason: fmt::Arguments<'_>, defects: DefectSink<'_>) {
    defects(&Defect { table: name, address: Some(table.address), offset: None, reason });
}

/// Reports the invalid entries of a MADT.
fn report_entries(madt: &Madt<'_>, address: u64, defects: DefectSink<'_>) {
    let mut broken = 0;
    for error in madt.entries().filter_map(Result::err) {
        broken += 1;
        if broken <= MAX_ENTRIES_REPORTED {
            report_entry(&error, address, defects);
        }
    }
    if let more @ 1.. = broken.saturating_sub(MAX_ENTRIES_REPORTED) {
        let reason = format_args!("{more} more invalid entries: not used");
        defects(&Defect { table: "MADT", address: Some(address), offset: None, reason });
    }
}

/// Reports an invalid entry of the table at `address`.
pub(crate) fn report_entry(error: &EntryError, address: u64, defects: DefectSink<'_>) {
    let EntryError { table, offset, .. } = *error;
    let reason = format_args!("{}: not used", error.reason());
    defects(&Defect { table, address: Some(address), offset: Some(offset), reason });
}
