//! The routing of device interrupts to I/O APICs: the pin of each ISA interrupt, and its polarity and trigger mode (ACPI
//! 6.5 §5.2.12.3 to §5.2.12.6). Pure; `apic` programs it.

use core::fmt;

use heapless::Vec;

use super::cpu_list::CpuEntry;
use super::id_index::IdIndex;
use super::madt::{Madt, MadtEntry};
use crate::boot::defect::{Defect, DefectSink};
use crate::boot::physical::AddressFault;

/// The maximum number of I/O APICs, as in Linux (`MAX_IO_APICS`).
pub(crate) const MAX_IO_APICS: usize = 128;

/// The number of ISA interrupts. Each may have an override.
const ISA_IRQS: u8 = 16;

/// The maximum number of NMI sources that are recorded. Firmware names one or two.
const MAX_NMI_SOURCES: usize = 32;

/// The maximum number of rejected I/O APICs that are reported individually.
const MAX_REFUSED_REPORTED: u32 = 4;

/// The length in bytes of an I/O APIC's registers: the index at 0, the window at 0x10.
pub(crate) const IO_APIC_BYTES: u64 = 0x14;

/// An I/O APIC of the MADT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IoApicEntry {
    /// Its ID, which the kernel uses only in messages: interrupts have GSI numbers.
    pub id: u8,
    /// The physical address of its registers.
    pub address: u32,
    /// The GSI number of its first pin.
    pub gsi_base: u32,
}

/// An interrupt source that the MADT describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InterruptSource {
    /// An interrupt source override (type 2): the route of an ISA interrupt.
    Isa {
        /// The ISA interrupt number.
        irq: u8,
        /// Its route.
        route: IrqRoute,
    },
    /// An NMI source (type 3). No device can use the pin.
    Nmi {
        /// The pin's GSI number.
        gsi: u32,
    },
}

/// A pin of an I/O APIC, with polarity and trigger mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IrqRoute {
    /// The pin's global system interrupt (GSI) number.
    pub gsi: u32,
    /// The signal is active low.
    pub active_low: bool,
    /// The signal is level-triggered instead of edge-triggered.
    pub level_triggered: bool,
}

/// The reason why an ISA interrupt has no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IrqRouteError {
    /// Another ISA interrupt uses the pin with its number, and it has no override itself.
    PinTaken {
        /// The pin's GSI number.
        gsi: u32,
        /// The ISA interrupt that uses it.
        by: u8,
    },
    /// The pin is an NMI source.
    Nmi {
        /// The pin's GSI number.
        gsi: u32,
    },
}

impl fmt::Display for IrqRouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IrqRouteError::PinTaken { gsi, by } => write!(f, "GSI {gsi} belongs to ISA interrupt {by}"),
            IrqRouteError::Nmi { gsi } => write!(f, "GSI {gsi} is an NMI source"),
        }
    }
}

/// The I/O APICs and interrupt sources of a MADT.
#[derive(Clone, Debug, Default)]
pub(crate) struct IrqRouting {
    /// The I/O APICs with a valid address. The driver checks whether they exist.
    pub io_apics: Vec<IoApicEntry, MAX_IO_APICS>,
    /// The interrupt sources: of several overrides of an ISA interrupt the first.
    pub interrupt_sources: Vec<InterruptSource, { ISA_IRQS as usize + MAX_NMI_SOURCES }>,
}

/// The reason why an I/O APIC's entry is not used.
enum IoApicEntryError {
    Address(AddressFault),
    SameAddress,
    TooMany,
}

impl fmt::Display for IoApicEntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IoApicEntryError::Address(fault) => fault.fmt(f),
            IoApicEntryError::SameAddress => f.write_str("its registers overlap those of another I/O APIC"),
            IoApicEntryError::TooMany => write!(f, "there may be at most {MAX_IO_APICS}"),
        }
    }
}

impl IrqRouting {
    /// Reads the table at `address`. `claim` checks whether registers can lie at an address, and reserves the range if
    /// so. Errors are reported to `defects`.
    pub(crate) fn read(
        madt: &Madt<'_>,
        address: u64,
        claim: &mut dyn FnMut(u64, u64) -> Result<(), AddressFault>,
        defects: DefectSink<'_>,
    ) -> IrqRouting {
        let mut routing = IrqRouting::default();
        let (mut refused, mut bad_overrides, mut lost_sources) = (0, 0, 0);
        for entry in madt.entries().flatten() {
            match entry {
                MadtEntry::IoApic(chip) => {
                    let (id, address) = (chip.io_apic_id, chip.io_apic_address);
                    let chip = IoApicEntry { id, address, gsi_base: chip.global_system_interrupt_base };
                    let Err(fault) = routing.take(chip, claim) else { continue };
                    refused += 1;
                    if refused <= MAX_REFUSED_REPORTED {
                        let reason = format_args!("I/O APIC {id} of the MADT: {fault}: not used");
                        let address = Some(address.into());
                        defects(&Defect { table: "I/O APIC", address, offset: None, reason });
                    }
                }
                // Bus 0 is ISA, the only bus that ACPI defines.
                MadtEntry::InterruptSourceOverride(entry) if entry.bus == 0 => {
                    let (isa_irq, gsi, flags) = (entry.irq, entry.global_system_interrupt, entry.flags);
                    let is_known = |known: &InterruptSource| matches!(*known, InterruptSource::Isa { irq, .. } if irq == isa_irq);
                    bad_overrides += u32::from(isa_irq >= ISA_IRQS);
                    if isa_irq < ISA_IRQS && !routing.interrupt_sources.iter().any(is_known) {
                        let source =
                            InterruptSource::Isa { irq: isa_irq, route: IrqRoute::with_flags(gsi, flags) };
                        // There is room: one element per ISA interrupt, and the number of NMI sources is limited.
                        let _ = routing.interrupt_sources.push(source);
                    }
                }
                MadtEntry::NmiSource(entry) => {
                    let source = InterruptSource::Nmi { gsi: entry.global_system_interrupt };
                    let is_nmi = |known: &&InterruptSource| matches!(known, InterruptSource::Nmi { .. });
                    if routing.interrupt_sources.contains(&source) {
                        continue;
                    }
                    if routing.interrupt_sources.iter().filter(is_nmi).count() < MAX_NMI_SOURCES {
                        let _ = routing.interrupt_sources.push(source);
                    } else {
                        lost_sources += 1;
                    }
                }
                _ => {}
            }
        }
        if refused == 0 && routing.io_apics.is_empty() {
            let reason = format_args!("no I/O APIC listed: no device interrupts");
            defects(&Defect { table: "MADT", address: Some(address), offset: None, reason });
        }
        let mut counted = |count: u32, reason: fmt::Arguments<'_>| {
            if count > 0 {
                defects(&Defect { table: "MADT", address: Some(address), offset: None, reason });
            }
        };
        let more = refused.saturating_sub(MAX_REFUSED_REPORTED);
        counted(more, format_args!("{more} more I/O APICs are not used"));
        let overrides = format_args!("{bad_overrides} overrides of ISA interrupts above 15: not used");
        counted(bad_overrides, overrides);
        counted(
            lost_sources,
            format_args!("{lost_sources} NMI sources beyond the limit of {MAX_NMI_SOURCES}: not used"),
        );
        routing
    }

    fn take(
        &mut self,
        chip: IoApicEntry,
        claim: &mut dyn FnMut(u64, u64) -> Result<(), AddressFault>,
    ) -> Result<(), IoApicEntryError> {
        if self.io_apics.is_full() {
            return Err(IoApicEntryError::TooMany);
        }
        let overlaps = |other: &IoApicEntry| u64::from(other.address.abs_diff(chip.address)) < IO_APIC_BYTES;
        if self.io_apics.iter().any(overlaps) {
            return Err(IoApicEntryError::SameAddress);
        }
        claim(chip.address.into(), IO_APIC_BYTES).map_err(IoApicEntryError::Address)?;
        // There is room: checked above.
        let _ = self.io_apics.push(chip);
        Ok(())
    }
}

/// A local APIC pin that is an NMI input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NmiPin {
    /// 0 for LINT0, 1 for LINT1.
    pub pin: u8,
    /// The CPU's UID; `None` for all CPUs.
    pub uid: Option<u32>,
    /// The pin is active low.
    pub active_low: bool,
}

impl NmiPin {
    /// Returns the pin of a MADT entry of type 4 or 10.
    pub(crate) fn from_madt(entry: MadtEntry<'_>) -> Option<NmiPin> {
        let (uid, flags, pin) = match entry {
            MadtEntry::LocalApicNmi(nmi) => {
                let uid = nmi.processor_id;
                ((uid != 0xff).then_some(u32::from(uid)), nmi.flags, nmi.nmi_line)
            }
            MadtEntry::X2ApicNmi(nmi) => {
                let uid = nmi.processor_uid;
                ((uid != u32::MAX).then_some(uid), nmi.flags, nmi.nmi_line)
            }
            _ => return None,
        };
        // Polarity is in the low two bits (ACPI 6.5 §5.2.12.5, table 5.26): 3 is active low.
        Some(NmiPin { pin, uid, active_low: flags & 3 == 3 })
    }

    /// Returns whether the entry applies to the CPU with this UID.
    pub(crate) fn applies_to(&self, uid: Option<u32>) -> bool {
        self.uid.is_none() || self.uid == uid
    }

    /// Returns whether a local APIC has the pin.
    pub(crate) fn exists(&self) -> bool {
        self.pin < 2
    }

    /// Returns the maximum number of entries for `cpus` CPUs: one for each pin of each CPU, and one for each pin of all
    /// CPUs.
    pub(crate) const fn most_for(cpus: usize) -> usize {
        2 * (cpus + 1)
    }
}

/// Returns the NMI input pins of these CPUs, from the MADT at `address`. `index` finds the CPUs by their UIDs. Invalid
/// entries are reported to `defects`.
pub(crate) fn nmi_pins<'a>(
    madt: &Madt<'a>,
    address: u64,
    cpus: &'a [CpuEntry],
    index: &'a IdIndex<'a>,
    defects: DefectSink<'_>,
) -> impl Iterator<Item = NmiPin> + Clone + use<'a> {
    let pins = madt.entries().filter_map(|entry| NmiPin::from_madt(entry.ok()?));
    let bad = pins.clone().filter(|pin| !pin.exists()).count();
    let mut report = |count: usize, reason: fmt::Arguments<'_>| {
        if count > 0 {
            defects(&Defect { table: "MADT", address: Some(address), offset: None, reason });
        }
    };
    report(bad, format_args!("{bad} NMI entries for nonexistent LINT pins: not used"));
    let uid_at = |slot: usize| cpus[slot].uid.unwrap_or(u32::MAX);
    let is_used =
        move |pin: &NmiPin| pin.exists() && pin.uid.is_none_or(|uid| index.find(uid, uid_at).is_some());
    let used = pins.filter(is_used);
    let most = NmiPin::most_for(cpus.len());
    let more = used.clone().count().saturating_sub(most);
    report(more, format_args!("{more} NMI entries beyond the number of pins: not used"));
    used.take(most)
}

impl IrqRoute {
    /// Creates a route from the MADT's flags (table 5.26): polarity in bits 0 and 1, trigger mode in bits 2 and 3. 0
    /// means the bus's default, which for ISA is active high and edge-triggered. The two reserved values are treated as
    /// 0.
    const fn with_flags(gsi: u32, flags: u16) -> IrqRoute {
        IrqRoute { gsi, active_low: flags & 3 == 3, level_triggered: flags >> 2 & 3 == 3 }
    }
}

/// Returns the route of an ISA interrupt: that of its override, otherwise the pin with its own number.
///
/// # Errors
/// [`IrqRouteError`]
pub(crate) fn isa_route(irq: u8, sources: &[InterruptSource]) -> Result<IrqRoute, IrqRouteError> {
    let overridden = sources.iter().find_map(|source| match source {
        InterruptSource::Isa { irq: other, route } if *other == irq => Some(*route),
        _ => None,
    });
    let route = overridden.unwrap_or(IrqRoute::with_flags(irq.into(), 0));
    for source in sources {
        match *source {
            InterruptSource::Nmi { gsi } if gsi == route.gsi => return Err(IrqRouteError::Nmi { gsi }),
            InterruptSource::Isa { irq: by, route: IrqRoute { gsi, .. } }
                if gsi == route.gsi && overridden.is_none() =>
            {
                return Err(IrqRouteError::PinTaken { gsi, by });
            }
            _ => {}
        }
    }
    Ok(route)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::madt::tests::table;
    use super::*;

    fn isa(irq: u8, gsi: u32, flags: u16) -> InterruptSource {
        InterruptSource::Isa { irq, route: IrqRoute::with_flags(gsi, flags) }
    }

    const fn edge_high(gsi: u32) -> IrqRoute {
        IrqRoute { gsi, active_low: false, level_triggered: false }
    }

    #[test]
    fn without_an_override_the_pin_has_the_interrupts_own_number() {
        assert_eq!(isa_route(4, &[]), Ok(edge_high(4)));
        assert_eq!(isa_route(4, &[isa(0, 2, 0), isa(9, 9, 0xd)]), Ok(edge_high(4)));
    }

    #[test]
    fn an_override_sets_pin_polarity_and_trigger_mode() {
        // The timer as on every PC, and the SCI as on most.
        let rules = [isa(0, 2, 0), isa(9, 20, 0xf)];
        assert_eq!(isa_route(0, &rules), Ok(edge_high(2)));
        assert_eq!(isa_route(9, &rules), Ok(IrqRoute { gsi: 20, active_low: true, level_triggered: true }));
    }

    #[test]
    fn each_value_of_the_flags() {
        let rows = [
            (0b0000, false, false),
            (0b0001, false, false),
            (0b0101, false, false),
            (0b0011, true, false),
            (0b0111, true, false),
            (0b1101, false, true),
            (0b1100, false, true),
            (0b1111, true, true),
        ];
        for (flags, active_low, level_triggered) in rows {
            let expected = IrqRoute { gsi: 7, active_low, level_triggered };
            assert_eq!(isa_route(5, &[isa(5, 7, flags)]), Ok(expected), "{flags:#b}");
        }
    }

    #[test]
    fn a_pin_that_another_interrupt_was_moved_to_is_not_shared() {
        let rules = [isa(0, 2, 0)];
        assert_eq!(isa_route(2, &rules), Err(IrqRouteError::PinTaken { gsi: 2, by: 0 }));
        // Two interrupts with overrides to the same pin share it by intention.
        let both = [isa(5, 9, 0xf), isa(9, 9, 0xf)];
        assert!(isa_route(5, &both).is_ok() && isa_route(9, &both).is_ok());
    }

    #[test]
    fn an_nmi_source_is_not_routed_to_a_device() {
        let nmi = InterruptSource::Nmi { gsi: 4 };
        assert_eq!(isa_route(4, &[nmi]), Err(IrqRouteError::Nmi { gsi: 4 }));
        assert_eq!(isa_route(3, &[isa(3, 4, 0), nmi]), Err(IrqRouteError::Nmi { gsi: 4 }));
        assert_eq!(isa_route(5, &[nmi]), Ok(edge_high(5)));
    }

    /// An I/O APIC (type 1).
    fn chip(id: u8, address: u32, gsi_base: u32) -> Vec<u8> {
        [&[1, 12, id, 0][..], &address.to_le_bytes(), &gsi_base.to_le_bytes()].concat()
    }

    /// An override (type 2).
    fn interrupt_override(bus: u8, irq: u8, gsi: u32) -> Vec<u8> {
        [&[2, 10, bus, irq][..], &gsi.to_le_bytes(), &[0, 0]].concat()
    }

    /// The routing of a table with these entries, where no device can be at 0x1000, and the reported errors.
    fn read_routing(entries: &[Vec<u8>]) -> (IrqRouting, Vec<String>) {
        let bytes = table(&entries.concat());
        let mut reported = Vec::new();
        let mut claim = |at, _| if at == 0x1000 { Err(AddressFault::Tables) } else { Ok(()) };
        let mut sink = |defect: &Defect<'_>| reported.push(defect.to_string());
        let routing = IrqRouting::read(&Madt::parse(&bytes).unwrap(), 0x500, &mut claim, &mut sink);
        (routing, reported)
    }

    #[test]
    fn io_apics_are_disjoint_and_at_valid_addresses() {
        let entries = [
            chip(0, 0xfec0_0000, 0),
            chip(1, 0x1000, 24),
            chip(2, 0xfec0_0010, 24),
            chip(3, 0xfec0_0100, 24),
            chip(4, 0xfec0_0000, 48),
        ];
        let (routing, reported) = read_routing(&entries);
        assert_eq!(routing.io_apics.iter().map(|chip| chip.id).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(
            reported,
            [
                "I/O APIC at 0x1000: I/O APIC 1 of the MADT: in a page of ACPI tables: not used",
                "I/O APIC at 0xfec00010: I/O APIC 2 of the MADT: its registers overlap those of another I/O APIC: not used",
                "I/O APIC at 0xfec00000: I/O APIC 4 of the MADT: its registers overlap those of another I/O APIC: not used",
            ]
        );
    }

    #[test]
    fn many_invalid_entries_are_reported_in_a_few_lines() {
        let many = (0..3000u32).map(|id| chip(id as u8, 0xc000_0000 + 4096 * id, 24 * id));
        let overrides = (0..20_000u32).map(|gsi| interrupt_override(0, gsi as u8, gsi));
        let sources = (0..200u32).map(|gsi| [&[3, 8, 0, 0][..], &gsi.to_le_bytes()].concat());
        let (routing, reported) = read_routing(&many.chain(overrides).chain(sources).collect::<Vec<_>>());
        assert_eq!(
            (routing.io_apics.len(), routing.interrupt_sources.len()),
            (MAX_IO_APICS, 16 + MAX_NMI_SOURCES)
        );
        assert_eq!(reported.len(), 4 + 3, "{reported:#?}");
        assert!(reported[4].contains("2868 more I/O APICs"), "{reported:#?}");
        assert!(reported[6].contains("168 NMI sources beyond"), "{reported:#?}");
    }

    #[test]
    fn the_first_isa_override_counts_and_other_buses_are_ignored() {
        let entries = [interrupt_override(1, 4, 9), interrupt_override(0, 4, 4), interrupt_override(0, 4, 5)];
        let (routing, reported) = read_routing(&entries);
        assert_eq!(routing.interrupt_sources[..], [isa(4, 4, 0)]);
        assert_eq!(reported, ["MADT at 0x500: no I/O APIC listed: no device interrupts"]);
    }

    #[test]
    fn nmi_pins_are_those_of_listed_cpus() {
        let local = |uid: u8, lint: u8| vec![4, 6, uid, 3, 0, lint];
        let entries = [local(0xff, 1), local(7, 0), local(8, 0), local(7, 2)];
        let bytes = table(&entries.concat());
        let cpus = [CpuEntry { uid: Some(7), ..CpuEntry::EMPTY }];
        let mut words = [0; 4];
        let mut index = IdIndex::new(&mut words, 7);
        index.insert(7, 0, |_| 7);
        let mut reported = Vec::new();
        let mut sink = |defect: &Defect<'_>| reported.push(defect.to_string());
        let pins = nmi_pins(&Madt::parse(&bytes).unwrap(), 0x500, &cpus, &index, &mut sink);
        let pin = |pin, uid| NmiPin { pin, uid, active_low: true };
        assert_eq!(pins.collect::<Vec<_>>(), [pin(1, None), pin(0, Some(7))]);
        assert_eq!(reported, ["MADT at 0x500: 1 NMI entries for nonexistent LINT pins: not used"]);
    }
}
