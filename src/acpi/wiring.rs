//! How interrupts from devices reach the I/O APICs: which pin each legacy interrupt arrives at, and what its signal looks
//! like (ACPI 6.5 §5.2.12.3 to §5.2.12.6). Pure; `apic` programs what this says.

use super::madt::MadtEntry;

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

impl core::fmt::Display for WiringError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            WiringError::PinTaken { gsi, by } => write!(f, "global interrupt {gsi} is ISA interrupt {by}"),
            WiringError::Nmi { gsi } => write!(f, "global interrupt {gsi} is a non-maskable one"),
        }
    }
}

impl IoApicEntry {
    /// The I/O APIC that an entry tells of.
    pub fn from_madt(entry: MadtEntry) -> Option<IoApicEntry> {
        match entry {
            MadtEntry::IoApic { id, address, gsi_base } => Some(IoApicEntry { id, address, gsi_base }),
            _ => None,
        }
    }
}

impl PinRule {
    /// What an entry says of a pin.
    pub fn from_madt(entry: MadtEntry) -> Option<PinRule> {
        match entry {
            // Bus 0 is ISA, the only one there is.
            MadtEntry::InterruptOverride { bus: 0, source, gsi, flags } => {
                Some(PinRule::Isa { irq: source, line: Line::with_flags(gsi, flags) })
            }
            MadtEntry::NmiSource { gsi, .. } => Some(PinRule::Nmi { gsi }),
            _ => None,
        }
    }
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
    use super::*;

    fn isa(irq: u8, gsi: u32, flags: u16) -> PinRule {
        PinRule::from_madt(MadtEntry::InterruptOverride { bus: 0, source: irq, gsi, flags }).unwrap()
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
        let nmi = PinRule::from_madt(MadtEntry::NmiSource { flags: 0, gsi: 4 }).unwrap();
        assert_eq!(isa_line(4, &[nmi]), Err(WiringError::Nmi { gsi: 4 }));
        assert_eq!(isa_line(3, &[isa(3, 4, 0), nmi]), Err(WiringError::Nmi { gsi: 4 }));
        assert_eq!(isa_line(5, &[nmi]), Ok(edge_high(5)));
    }

    #[test]
    fn another_bus_has_nothing_to_say_here() {
        let other = MadtEntry::InterruptOverride { bus: 1, source: 4, gsi: 9, flags: 0 };
        assert_eq!(PinRule::from_madt(other), None);
    }
}
