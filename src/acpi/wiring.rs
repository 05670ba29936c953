//! How interrupts from devices reach the I/O APICs: which pin each legacy interrupt arrives at, and what its signal looks
//! like (ACPI 6.5 §5.2.12.3 to §5.2.12.6). Pure; `apic` programs what this says.

use core::fmt;

use heapless::Vec;

use super::index::Index;
use super::madt::{Madt, MadtEntry};
use super::roster::RosterEntry;
use crate::boot::defect::{Defect, DefectSink};
use crate::boot::physical::AddressFault;

/// The most I/O APICs, as many as Linux takes (`MAX_IO_APICS`).
pub const MAX_IO_APICS: usize = 128;

/// Legacy interrupts of a PC, each of which may have an override.
const ISA_IRQS: u8 = 16;

/// The most pins that are kept account of as wired to NMI: firmware names one or two.
const MAX_NMI_SOURCES: usize = 32;

/// How many refused I/O APICs are reported each for itself.
const MAX_REFUSED_REPORTED: u32 = 4;

/// Bytes of an I/O APIC's registers: the index at 0, the window at 0x10.
pub const IO_APIC_BYTES: u64 = 0x14;

/// An I/O APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoApicEntry {
    /// Its ID, of which nothing here makes use: interrupts have numbers of their own.
    pub id: u8,
    /// Where its registers are, physical.
    pub address: u32,
    /// The global interrupt number of its first pin.
    pub gsi_base: u32,
}

/// What an entry of the MADT says of a single pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinRule {
    /// A legacy interrupt arrives there (type 2).
    Isa {
        /// Its ISA number.
        irq: u8,
        /// The pin and its signal.
        line: Line,
    },
    /// A non-maskable interrupt arrives there (type 3), so no device can have the pin.
    Nmi {
        /// The pin's global number.
        gsi: u32,
    },
}

/// A pin and its signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The pin's global interrupt number.
    pub gsi: u32,
    /// The signal is active when low.
    pub active_low: bool,
    /// The signal stays as long as the device wants something, rather than begin anew each time.
    pub level_triggered: bool,
}

/// Why a legacy interrupt has no line of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WiringError {
    /// Another legacy interrupt arrives at the pin of its number, and it has none itself.
    PinTaken {
        /// The pin.
        gsi: u32,
        /// Who has it.
        by: u8,
    },
    /// The pin is wired to NMI.
    Nmi {
        /// The pin.
        gsi: u32,
    },
}

impl fmt::Display for WiringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WiringError::PinTaken { gsi, by } => write!(f, "global interrupt {gsi} is ISA interrupt {by}"),
            WiringError::Nmi { gsi } => write!(f, "global interrupt {gsi} is a non-maskable one"),
        }
    }
}

/// What a MADT says of interrupts from devices.
#[derive(Clone, Debug, Default)]
pub struct Wiring {
    /// The I/O APICs that can be where the table has them. What is there is for the driver to find out.
    pub io_apics: Vec<IoApicEntry, MAX_IO_APICS>,
    /// What is special about their pins: of several overrides of an interrupt the first.
    pub pin_rules: Vec<PinRule, { ISA_IRQS as usize + MAX_NMI_SOURCES }>,
}

/// Why an I/O APIC's entry is not used.
enum IoApicFault {
    Address(AddressFault),
    SameAddress,
    TooMany,
}

impl fmt::Display for IoApicFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IoApicFault::Address(fault) => fault.fmt(f),
            IoApicFault::SameAddress => f.write_str("its registers overlap those of another"),
            IoApicFault::TooMany => write!(f, "there may be at most {MAX_IO_APICS}"),
        }
    }
}

impl Wiring {
    /// Reads the table, which lies at `address`. `claim` says whether registers can be somewhere, and keeps the place if
    /// so. What is refused is reported to `defects`.
    pub fn read(
        madt: &Madt<'_>,
        address: u64,
        claim: &mut dyn FnMut(u64, u64) -> Result<(), AddressFault>,
        defects: DefectSink<'_>,
    ) -> Wiring {
        let mut wiring = Wiring::default();
        let (mut refused, mut bad_overrides, mut lost_sources) = (0, 0, 0);
        for entry in madt.entries().flatten() {
            match entry {
                MadtEntry::IoApic(chip) => {
                    let (id, address) = (chip.io_apic_id, chip.io_apic_address);
                    let chip = IoApicEntry { id, address, gsi_base: chip.global_system_interrupt_base };
                    let Err(fault) = wiring.take(chip, claim) else { continue };
                    refused += 1;
                    if refused <= MAX_REFUSED_REPORTED {
                        let reason = format_args!("I/O APIC {id} of the MADT: {fault}: not used");
                        let address = Some(address.into());
                        defects(&Defect { table: "I/O APIC", address, offset: None, reason });
                    }
                }
                // Bus 0 is ISA, the only one there is.
                MadtEntry::InterruptSourceOverride(entry) if entry.bus == 0 => {
                    let (source, gsi, flags) = (entry.irq, entry.global_system_interrupt, entry.flags);
                    let is_known =
                        |rule: &PinRule| matches!(*rule, PinRule::Isa { irq, .. } if irq == source);
                    bad_overrides += u32::from(source >= ISA_IRQS);
                    if source < ISA_IRQS && !wiring.pin_rules.iter().any(is_known) {
                        let rule = PinRule::Isa { irq: source, line: Line::with_flags(gsi, flags) };
                        // Never without room: there is some for each interrupt, and that for NMI sources is limited.
                        let _ = wiring.pin_rules.push(rule);
                    }
                }
                MadtEntry::NmiSource(source) => {
                    let rule = PinRule::Nmi { gsi: source.global_system_interrupt };
                    let is_nmi = |rule: &&PinRule| matches!(rule, PinRule::Nmi { .. });
                    if wiring.pin_rules.contains(&rule) {
                        continue;
                    }
                    if wiring.pin_rules.iter().filter(is_nmi).count() < MAX_NMI_SOURCES {
                        let _ = wiring.pin_rules.push(rule);
                    } else {
                        lost_sources += 1;
                    }
                }
                _ => {}
            }
        }
        if refused == 0 && wiring.io_apics.is_empty() {
            let reason = format_args!("lists no I/O APIC: no interrupts from devices");
            defects(&Defect { table: "MADT", address: Some(address), offset: None, reason });
        }
        let mut counted = |count: u32, reason: fmt::Arguments<'_>| {
            if count > 0 {
                defects(&Defect { table: "MADT", address: Some(address), offset: None, reason });
            }
        };
        let more = refused.saturating_sub(MAX_REFUSED_REPORTED);
        counted(more, format_args!("{more} more I/O APICs are not used"));
        let overrides =
            format_args!("{bad_overrides} overrides of interrupts that ISA does not have: not used");
        counted(bad_overrides, overrides);
        counted(
            lost_sources,
            format_args!("{lost_sources} NMI sources more than {MAX_NMI_SOURCES}: not used"),
        );
        wiring
    }

    fn take(
        &mut self,
        chip: IoApicEntry,
        claim: &mut dyn FnMut(u64, u64) -> Result<(), AddressFault>,
    ) -> Result<(), IoApicFault> {
        if self.io_apics.is_full() {
            return Err(IoApicFault::TooMany);
        }
        let overlaps = |other: &IoApicEntry| u64::from(other.address.abs_diff(chip.address)) < IO_APIC_BYTES;
        if self.io_apics.iter().any(overlaps) {
            return Err(IoApicFault::SameAddress);
        }
        claim(chip.address.into(), IO_APIC_BYTES).map_err(IoApicFault::Address)?;
        // Never without room: see above.
        let _ = self.io_apics.push(chip);
        Ok(())
    }
}

/// A local APIC's pin that NMI is wired to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NmiPin {
    /// LINT0 or LINT1.
    pub pin: u8,
    /// The CPU's UID; `None` for all CPUs.
    pub uid: Option<u32>,
    /// Whether the pin is active when low.
    pub active_low: bool,
}

impl NmiPin {
    /// The pin that an entry of the MADT is about.
    pub fn from_madt(entry: MadtEntry<'_>) -> Option<NmiPin> {
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

    /// Whether it is a pin of the CPU with that UID.
    pub fn applies_to(&self, uid: Option<u32>) -> bool {
        self.uid.is_none() || self.uid == uid
    }

    /// Whether a local APIC has the pin.
    pub fn exists(&self) -> bool {
        self.pin < 2
    }

    /// How many entries there can be for that many CPUs: one for each pin of each, and one for each pin of all.
    pub const fn most_for(cpus: usize) -> usize {
        2 * (cpus + 1)
    }
}

/// The pins that NMI is wired to, of a MADT at `address`, those of these CPUs; `index` finds them by their UIDs. Entries
/// that cannot be are reported to `defects`.
pub fn nmi_pins<'a>(
    madt: &Madt<'a>,
    address: u64,
    cpus: &'a [RosterEntry],
    index: &'a Index<'a>,
    defects: DefectSink<'_>,
) -> impl Iterator<Item = NmiPin> + Clone + use<'a> {
    let pins = madt.entries().filter_map(|entry| NmiPin::from_madt(entry.ok()?));
    let bad = pins.clone().filter(|pin| !pin.exists()).count();
    let mut report = |count: usize, reason: fmt::Arguments<'_>| {
        if count > 0 {
            defects(&Defect { table: "MADT", address: Some(address), offset: None, reason });
        }
    };
    report(bad, format_args!("{bad} NMI entries for a pin that no local APIC has: not used"));
    let uid_at = |place: usize| cpus[place].uid.unwrap_or(u32::MAX);
    let is_used =
        move |pin: &NmiPin| pin.exists() && pin.uid.is_none_or(|uid| index.find(uid, uid_at).is_some());
    let used = pins.filter(is_used);
    let most = NmiPin::most_for(cpus.len());
    let more = used.clone().count().saturating_sub(most);
    report(more, format_args!("{more} NMI entries more than the CPUs have pins: not used"));
    used.take(most)
}

impl Line {
    /// A pin with the MADT's flags (table 5.26): polarity in bits 0 and 1, trigger mode in bits 2 and 3. 0 means what the
    /// bus does, which for ISA is active high and edge-triggered; so is what the two reserved values are taken for.
    const fn with_flags(gsi: u32, flags: u16) -> Line {
        Line { gsi, active_low: flags & 3 == 3, level_triggered: flags >> 2 & 3 == 3 }
    }
}

/// The line of a legacy interrupt: that of its override, else the pin of its own number.
pub fn isa_line(irq: u8, rules: &[PinRule]) -> Result<Line, WiringError> {
    let overridden = rules.iter().find_map(|rule| match rule {
        PinRule::Isa { irq: other, line } if *other == irq => Some(*line),
        _ => None,
    });
    let line = overridden.unwrap_or(Line::with_flags(irq.into(), 0));
    for rule in rules {
        match *rule {
            PinRule::Nmi { gsi } if gsi == line.gsi => return Err(WiringError::Nmi { gsi }),
            PinRule::Isa { irq: by, line: Line { gsi, .. } } if gsi == line.gsi && overridden.is_none() => {
                return Err(WiringError::PinTaken { gsi, by });
            }
            _ => {}
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::madt::tests::table;
    use super::*;

    fn isa(irq: u8, gsi: u32, flags: u16) -> PinRule {
        PinRule::Isa { irq, line: Line::with_flags(gsi, flags) }
    }

    const fn edge_high(gsi: u32) -> Line {
        Line { gsi, active_low: false, level_triggered: false }
    }

    #[test]
    fn without_an_override_the_pin_has_the_interrupts_own_number() {
        assert_eq!(isa_line(4, &[]), Ok(edge_high(4)));
        assert_eq!(isa_line(4, &[isa(0, 2, 0), isa(9, 9, 0xd)]), Ok(edge_high(4)));
    }

    #[test]
    fn an_override_moves_the_pin_and_says_what_its_signal_is() {
        // The timer as every PC has it, and the system control interrupt as most have it.
        let rules = [isa(0, 2, 0), isa(9, 20, 0xf)];
        assert_eq!(isa_line(0, &rules), Ok(edge_high(2)));
        assert_eq!(isa_line(9, &rules), Ok(Line { gsi: 20, active_low: true, level_triggered: true }));
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
            let expected = Line { gsi: 7, active_low, level_triggered };
            assert_eq!(isa_line(5, &[isa(5, 7, flags)]), Ok(expected), "{flags:#b}");
        }
    }

    #[test]
    fn a_pin_that_another_interrupt_was_moved_to_is_not_shared() {
        let rules = [isa(0, 2, 0)];
        assert_eq!(isa_line(2, &rules), Err(WiringError::PinTaken { gsi: 2, by: 0 }));
        // Two that are both said to arrive there are meant to.
        let both = [isa(5, 9, 0xf), isa(9, 9, 0xf)];
        assert!(isa_line(5, &both).is_ok() && isa_line(9, &both).is_ok());
    }

    #[test]
    fn a_pin_that_is_wired_to_nmi_is_no_devices() {
        let nmi = PinRule::Nmi { gsi: 4 };
        assert_eq!(isa_line(4, &[nmi]), Err(WiringError::Nmi { gsi: 4 }));
        assert_eq!(isa_line(3, &[isa(3, 4, 0), nmi]), Err(WiringError::Nmi { gsi: 4 }));
        assert_eq!(isa_line(5, &[nmi]), Ok(edge_high(5)));
    }

    /// An I/O APIC (type 1).
    fn chip(id: u8, address: u32, gsi_base: u32) -> Vec<u8> {
        [&[1, 12, id, 0][..], &address.to_le_bytes(), &gsi_base.to_le_bytes()].concat()
    }

    /// An override (type 2).
    fn interrupt_override(bus: u8, irq: u8, gsi: u32) -> Vec<u8> {
        [&[2, 10, bus, irq][..], &gsi.to_le_bytes(), &[0, 0]].concat()
    }

    /// What is read of a table with these entries where nothing can be at 0x1000, and what is reported.
    fn wiring(entries: &[Vec<u8>]) -> (Wiring, Vec<String>) {
        let bytes = table(&entries.concat());
        let mut reported = Vec::new();
        let mut claim = |at, _| if at == 0x1000 { Err(AddressFault::Tables) } else { Ok(()) };
        let mut sink = |defect: &Defect<'_>| reported.push(defect.to_string());
        let wiring = Wiring::read(&Madt::parse(&bytes).unwrap(), 0x500, &mut claim, &mut sink);
        (wiring, reported)
    }

    #[test]
    fn io_apics_are_apart_and_where_they_can_be() {
        let entries = [
            chip(0, 0xfec0_0000, 0),
            chip(1, 0x1000, 24),
            chip(2, 0xfec0_0010, 24),
            chip(3, 0xfec0_0100, 24),
            chip(4, 0xfec0_0000, 48),
        ];
        let (wiring, reported) = wiring(&entries);
        assert_eq!(wiring.io_apics.iter().map(|chip| chip.id).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(
            reported,
            [
                "I/O APIC at 0x1000: I/O APIC 1 of the MADT: in a page of ACPI tables: not used",
                "I/O APIC at 0xfec00010: I/O APIC 2 of the MADT: its registers overlap those of another: not used",
                "I/O APIC at 0xfec00000: I/O APIC 4 of the MADT: its registers overlap those of another: not used",
            ]
        );
    }

    #[test]
    fn a_flood_of_entries_is_a_few_lines() {
        let many = (0..3000u32).map(|id| chip(id as u8, 0xc000_0000 + 4096 * id, 24 * id));
        let overrides = (0..20_000u32).map(|gsi| interrupt_override(0, gsi as u8, gsi));
        let sources = (0..200u32).map(|gsi| [&[3, 8, 0, 0][..], &gsi.to_le_bytes()].concat());
        let (wiring, reported) = wiring(&many.chain(overrides).chain(sources).collect::<Vec<_>>());
        assert_eq!((wiring.io_apics.len(), wiring.pin_rules.len()), (MAX_IO_APICS, 16 + MAX_NMI_SOURCES));
        assert_eq!(reported.len(), 4 + 3, "{reported:#?}");
        assert!(reported[4].contains("2868 more I/O APICs"), "{reported:#?}");
        assert!(reported[6].contains("168 NMI sources more"), "{reported:#?}");
    }

    #[test]
    fn of_several_overrides_the_first_counts_and_another_bus_none() {
        let entries = [interrupt_override(1, 4, 9), interrupt_override(0, 4, 4), interrupt_override(0, 4, 5)];
        let (wiring, reported) = wiring(&entries);
        assert_eq!(wiring.pin_rules[..], [isa(4, 4, 0)]);
        assert_eq!(reported, ["MADT at 0x500: lists no I/O APIC: no interrupts from devices"]);
    }

    #[test]
    fn nmi_pins_are_those_of_the_cpus_there_are() {
        let local = |uid: u8, lint: u8| vec![4, 6, uid, 3, 0, lint];
        let entries = [local(0xff, 1), local(7, 0), local(8, 0), local(7, 2)];
        let bytes = table(&entries.concat());
        let cpus = [RosterEntry { uid: Some(7), ..RosterEntry::EMPTY }];
        let mut words = [0; 4];
        let mut index = Index::new(&mut words, 7);
        index.enter(7, 0, |_| 7);
        let mut reported = Vec::new();
        let mut sink = |defect: &Defect<'_>| reported.push(defect.to_string());
        let pins = nmi_pins(&Madt::parse(&bytes).unwrap(), 0x500, &cpus, &index, &mut sink);
        let pin = |pin, uid| NmiPin { pin, uid, active_low: true };
        assert_eq!(pins.collect::<Vec<_>>(), [pin(1, None), pin(0, Some(7))]);
        assert_eq!(reported, ["MADT at 0x500: 1 NMI entries for a pin that no local APIC has: not used"]);
    }
}
