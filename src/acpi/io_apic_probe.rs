//! The check whether an I/O APIC exists at an address. It writes only the index register. Pure: the registers are behind
//! a trait.

use core::fmt;
use core::ops::Range;

/// The index register and the window behind it (82093AA datasheet, 3.1).
pub(crate) trait IoApicRegisters {
    /// Reads all 32 bits of the index register.
    fn index(&self) -> u32;
    /// Writes the index register.
    fn set_index(&self, index: u32);
    /// Reads the register that the index selects.
    fn window(&self) -> u32;
}

/// Index of the version register (3.2.2).
const VERSION: u32 = 1;

/// The maximum number of pins: an index has 8 bits, and each pin has two registers, the first of which is 0x10 (3.2.4).
const MAX_PINS: u32 = (0x100 - 0x10) / 2;

/// The reason why the I/O APIC is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IoApicProbeError {
    /// Every bit of the index register is set: there is no device.
    Silent,
    /// The index register does not keep what is written to it.
    Index {
        /// The written value.
        written: u32,
        /// The value read back.
        read: u32,
    },
    /// The value of the version register is invalid.
    Version(u32),
    /// The GSI is out of range, or belongs to another I/O APIC.
    Gsi(u32),
    /// It is another address of an I/O APIC that was found already.
    Alias,
}

impl fmt::Display for IoApicProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IoApicProbeError::Silent => f.write_str("no device there"),
            IoApicProbeError::Index { written, read } => {
                write!(
                    f,
                    "no I/O APIC there: its index register holds {read:#x} after a write of {written:#x}"
                )
            }
            IoApicProbeError::Version(value) => {
                write!(f, "no I/O APIC there: its version register holds {value:#x}")
            }
            IoApicProbeError::Gsi(gsi) => {
                write!(f, "GSI {gsi} is out of range or belongs to another I/O APIC")
            }
            IoApicProbeError::Alias => f.write_str("the same I/O APIC answers at another address"),
        }
    }
}

impl core::error::Error for IoApicProbeError {}

/// Returns the GSI range of the I/O APIC behind `registers`, whose first pin has `gsi_base`. `others` are the I/O APICs
/// found so far, each with its GSI range.
///
/// # Errors
/// [`IoApicProbeError`]
pub(crate) fn probe<'a, R: IoApicRegisters + 'a>(
    registers: &R,
    gsi_base: u32,
    others: impl Iterator<Item = (&'a R, Range<u32>)>,
) -> Result<Range<u32>, IoApicProbeError> {
    if registers.index() == u32::MAX {
        return Err(IoApicProbeError::Silent);
    }
    for written in [0, VERSION] {
        registers.set_index(written);
        // The bits above the lowest eight are reserved.
        let read = registers.index();
        if read & 0xff != written || read == u32::MAX {
            return Err(IoApicProbeError::Index { written, read });
        }
    }
    let version = registers.window();
    let pins = (version >> 16 & 0xff) + 1;
    // Bits 8 to 14 and 24 to 31 are reserved. Bit 15 reports additional registers.
    let has_reserved_bits = version & 0xff00_7f00 != 0;
    if has_reserved_bits || matches!(version & 0xff, 0 | 0xff) || pins > MAX_PINS {
        return Err(IoApicProbeError::Version(version));
    }
    let end = gsi_base.checked_add(pins).ok_or(IoApicProbeError::Gsi(u32::MAX))?;
    for (other, gsis) in others {
        if gsis.start < end && gsi_base < gsis.end {
            return Err(IoApicProbeError::Gsi(gsis.start.max(gsi_base)));
        }
        registers.set_index(VERSION);
        other.set_index(0);
        if registers.index() & 0xff != VERSION {
            return Err(IoApicProbeError::Alias);
        }
    }
    Ok(gsi_base..end)
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    /// A simulated device.
    enum Answer<'a> {
        Chip { index: &'a Cell<u32>, version: u32 },
        Constant(u32),
        Memory(Cell<u32>),
    }

    impl IoApicRegisters for Answer<'_> {
        fn index(&self) -> u32 {
            match self {
                Answer::Chip { index, .. } => index.get(),
                Answer::Constant(value) => *value,
                Answer::Memory(value) => value.get(),
            }
        }

        fn set_index(&self, value: u32) {
            match self {
                Answer::Chip { index, .. } => index.set(value & 0xff),
                Answer::Constant(_) => {}
                Answer::Memory(word) => word.set(value),
            }
        }

        fn window(&self) -> u32 {
            match self {
                Answer::Chip { index, version } => {
                    if index.get() == 1 {
                        *version
                    } else {
                        0
                    }
                }
                Answer::Constant(value) => *value,
                Answer::Memory(_) => 0x1234_5678,
            }
        }
    }

    const OF_24_PINS: u32 = 0x0017_0020;

    fn found(answer: &Answer<'_>, gsi_base: u32) -> Result<Range<u32>, IoApicProbeError> {
        probe(answer, gsi_base, core::iter::empty())
    }

    #[test]
    fn a_chip_is_found_with_its_pins() {
        let index = Cell::new(0x10);
        assert_eq!(found(&Answer::Chip { index: &index, version: OF_24_PINS }, 24), Ok(24..48));
        let with_eoi = Answer::Chip { index: &index, version: 0x0077_8020 };
        assert_eq!(found(&with_eoi, 0), Ok(0..120));
    }

    #[test]
    fn other_devices_are_rejected() {
        assert_eq!(found(&Answer::Constant(u32::MAX), 0), Err(IoApicProbeError::Silent));
        assert_eq!(found(&Answer::Constant(0), 0), Err(IoApicProbeError::Index { written: 1, read: 0 }));
        assert_eq!(
            found(&Answer::Constant(0xea), 0),
            Err(IoApicProbeError::Index { written: 0, read: 0xea })
        );
        assert_eq!(found(&Answer::Memory(Cell::new(0)), 0), Err(IoApicProbeError::Version(0x1234_5678)));
        for version in [0, u32::MAX, 0x0078_0020, 0x00ff_0020, 0x0100_0020, 0x0017_4020, 0x0017_00ff] {
            let index = Cell::new(0);
            let chip = Answer::Chip { index: &index, version };
            assert_eq!(found(&chip, 0), Err(IoApicProbeError::Version(version)), "{version:#x}");
        }
    }

    #[test]
    fn interrupts_are_disjoint_and_chips_distinct() {
        let (index, other_index) = (Cell::new(0), Cell::new(0));
        let other = Answer::Chip { index: &other_index, version: OF_24_PINS };
        let chip = Answer::Chip { index: &index, version: OF_24_PINS };
        let beside = |chip: &Answer<'_>, gsi_base| probe(chip, gsi_base, [(&other, 0..24)].into_iter());
        assert_eq!(beside(&chip, 24), Ok(24..48));
        assert_eq!(beside(&chip, 8), Err(IoApicProbeError::Gsi(8)));
        assert_eq!(beside(&chip, u32::MAX - 7), Err(IoApicProbeError::Gsi(u32::MAX)));
        let alias = Answer::Chip { index: &other_index, version: OF_24_PINS };
        assert_eq!(beside(&alias, 24), Err(IoApicProbeError::Alias));
    }
}
