//! The addresses of timers with a known frequency, from the FADT and the HPET table.

use core::fmt;

use ::acpi::sdt::SdtHeader;

use super::layout::fadt_flags;
use super::ports;
use crate::boot::physical::AddressFault;
use crate::wire::little_endian::{read_u32, read_u64};

/// The power management timer (PM timer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PmTimer {
    /// Its I/O port.
    pub port: u16,
    /// It has 32 bits instead of 24.
    pub wide: bool,
}

/// Fields of the FADT (ACPI 6.5 §5.2.9, table 5.9) that are private in the `acpi` crate: see [`super::layout`].
const FADT_PM_TMR_BLK: usize = 76;
const FADT_PM_TMR_LEN: usize = 91;
const FADT_X_PM_TMR_BLK: usize = 208;

/// The number of ports of the timer's register.
const PM_TIMER_PORTS: u16 = 4;

/// A field of the HPET's table (IA-PC HPET specification 1.0a, §3.2.4).
const HPET_BASE_ADDRESS: usize = size_of::<SdtHeader>() + 4;

/// Address spaces of a generic address structure (ACPI 6.5 §5.2.3.2).
pub(super) const SYSTEM_MEMORY: u8 = 0;
pub(super) const SYSTEM_IO: u8 = 1;

/// The reason why a table's register is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegisterError {
    /// The table ends before the field.
    Truncated {
        /// The table's length in bytes.
        found: usize,
    },
    /// The register is in an address space that is not allowed for it, or that the kernel does not access.
    Space {
        /// The number of the space (ACPI 6.5 §5.2.3.2, table 5.1).
        space: u8,
    },
    /// The address is not an I/O port.
    NoPort {
        /// The address.
        address: u64,
    },
    /// Another device uses the port.
    PortTaken {
        /// The port.
        port: u16,
        /// The device.
        owner: &'static str,
    },
    /// No registers can lie at the address.
    Address {
        /// The address, physical.
        address: u64,
        /// The reason.
        fault: AddressFault,
    },
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegisterError::Truncated { found } => write!(f, "is beyond the table's {found} bytes"),
            RegisterError::Space { space } => write!(f, "is in address space {space}"),
            RegisterError::NoPort { address } => write!(f, "is at {address:#x}, which is not an I/O port"),
            RegisterError::PortTaken { port, owner } => {
                write!(f, "is at port {port:#x}, which belongs to {owner}")
            }
            RegisterError::Address { address, fault } => write!(f, "is at {address:#x}: {fault}"),
        }
    }
}

impl core::error::Error for RegisterError {}

/// Returns the PM timer of a FADT; `None` if the hardware has none.
///
/// # Errors
/// [`RegisterError`]: the timer that the table names is not used.
pub(crate) fn pm_timer(fadt: &[u8]) -> Result<Option<PmTimer>, RegisterError> {
    let truncated = RegisterError::Truncated { found: fadt.len() };
    let flags = fadt_flags(fadt).ok_or(truncated)?;
    if flags.system_is_hw_reduced_acpi() {
        return Ok(None);
    }
    let extended = generic_address(fadt, FADT_X_PM_TMR_BLK).filter(|(_, address)| *address != 0);
    let address = match extended {
        Some((SYSTEM_IO, address)) => address,
        Some((space, _)) => return Err(RegisterError::Space { space }),
        None if *fadt.get(FADT_PM_TMR_LEN).ok_or(truncated)? >= PM_TIMER_PORTS as u8 => {
            u64::from(read_u32(fadt, FADT_PM_TMR_BLK).ok_or(truncated)?)
        }
        None => return Ok(None),
    };
    if address == 0 {
        return Ok(None);
    }
    let port = free_port(address, PM_TIMER_PORTS)?;
    Ok(Some(PmTimer { port, wide: flags.pm_timer_is_32_bit() }))
}

/// Returns the first of `count` ports at `address`, if they exist and no other device uses them.
pub(super) fn free_port(address: u64, count: u16) -> Result<u16, RegisterError> {
    let port = u16::try_from(address).ok().filter(|port| port.checked_add(count - 1).is_some());
    let port = port.ok_or(RegisterError::NoPort { address })?;
    match ports::owner(port, count) {
        Some(owner) => Err(RegisterError::PortTaken { port, owner }),
        None => Ok(port),
    }
}

/// Returns the physical address of the HPET's registers.
///
/// # Errors
/// [`RegisterError`]: the table names none.
pub(crate) fn hpet_address(hpet: &[u8]) -> Result<u64, RegisterError> {
    match generic_address(hpet, HPET_BASE_ADDRESS) {
        Some((SYSTEM_MEMORY, address)) => Ok(address),
        Some((space, _)) => Err(RegisterError::Space { space }),
        None => Err(RegisterError::Truncated { found: hpet.len() }),
    }
}

pub(super) fn generic_address(table: &[u8], offset: usize) -> Option<(u8, u64)> {
    Some((*table.get(offset)?, read_u64(table, offset + 4)?))
}

#[cfg(test)]
mod tests {
    use ::acpi::address::AddressSpace;
    use ::acpi::fadt::Fadt;
    use proptest::prelude::*;

    use super::super::layout::zero_extended;
    use super::*;

    /// Fields and flags of the FADT, as numbers of the specification.
    const FADT_FLAGS: usize = 112;
    const FADT_TMR_VAL_EXT: u32 = 1 << 8;
    const FADT_HW_REDUCED_ACPI: u32 = 1 << 20;

    fn fadt(bytes: usize, flags: u32, port: u32, length: u8) -> Vec<u8> {
        let mut table = vec![0; bytes];
        table[FADT_PM_TMR_BLK..][..4].copy_from_slice(&port.to_le_bytes());
        table[FADT_PM_TMR_LEN] = length;
        table[FADT_FLAGS..][..4].copy_from_slice(&flags.to_le_bytes());
        table
    }

    #[test]
    fn the_first_revision_has_only_the_short_address() {
        let timer = pm_timer(&fadt(116, 0, 0x608, 4));
        assert_eq!(timer, Ok(Some(PmTimer { port: 0x608, wide: false })));
        let timer = pm_timer(&fadt(116, FADT_TMR_VAL_EXT, 0x608, 4));
        assert_eq!(timer, Ok(Some(PmTimer { port: 0x608, wide: true })));
    }

    #[test]
    fn the_extended_address_wins_and_must_be_a_port() {
        let mut table = fadt(276, 0, 0x608, 4);
        table[FADT_X_PM_TMR_BLK] = SYSTEM_IO;
        table[FADT_X_PM_TMR_BLK + 4..][..8].copy_from_slice(&0xb008u64.to_le_bytes());
        assert_eq!(pm_timer(&table), Ok(Some(PmTimer { port: 0xb008, wide: false })));
        table[FADT_X_PM_TMR_BLK] = SYSTEM_MEMORY;
        assert_eq!(pm_timer(&table), Err(RegisterError::Space { space: SYSTEM_MEMORY }));
    }

    #[test]
    fn a_machine_may_have_no_pm_timer() {
        assert_eq!(pm_timer(&fadt(276, FADT_HW_REDUCED_ACPI, 0x608, 4)), Ok(None));
        assert_eq!(pm_timer(&fadt(276, 0, 0x608, 0)), Ok(None));
        assert_eq!(pm_timer(&fadt(276, 0, 0, 4)), Ok(None));
    }

    #[test]
    fn a_pm_timer_takes_four_ports_that_no_other_device_has() {
        let fault = |port| pm_timer(&fadt(276, 0, port, 4)).unwrap_err();
        for address in [0x1_0608, 0xfffd, u32::MAX] {
            assert_eq!(fault(address), RegisterError::NoPort { address: address.into() });
        }
        assert_eq!(pm_timer(&fadt(276, 0, 0xfffc, 4)), Ok(Some(PmTimer { port: 0xfffc, wide: false })));
        for (port, owner) in [(0x3f5, "the serial port"), (0x3ff, "the serial port"), (0x3e, "the PIT")] {
            assert_eq!(fault(port), RegisterError::PortTaken { port: port as u16, owner });
        }
        assert_eq!(pm_timer(&[0; 80]), Err(RegisterError::Truncated { found: 80 }));
        assert_eq!(pm_timer(&[]), Err(RegisterError::Truncated { found: 0 }));
    }

    #[test]
    fn a_reserved_access_size_does_not_matter() {
        let mut table = fadt(276, 0, 0, 4);
        table[8] = 6;
        table[FADT_X_PM_TMR_BLK..][..6].copy_from_slice(&[SYSTEM_IO, 32, 0, 32, 0x08, 0xb0]);
        assert_eq!(pm_timer(&table), Ok(Some(PmTimer { port: 0xb008, wide: false })));
        assert!(
            zero_extended::<Fadt>(&table).pm_timer_block().is_err(),
            "the crate takes it: use its accessor"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn the_crate_reads_the_same_timer(
            mut bytes in prop::collection::vec(any::<u8>(), 244..300),
            space in 0..3u8,
            access_size in 0..5u8,
            legacy_port in 1..0xffffu32,
            port in 0..0xffffu64,
        ) {
            bytes[8] = bytes[8].max(2);
            bytes[FADT_PM_TMR_BLK..][..4].copy_from_slice(&legacy_port.to_le_bytes());
            bytes[FADT_PM_TMR_LEN] = 4;
            // ACPI 6.5 table 5.9, flags: bit 20 is for hardware that has no PM timer.
            bytes[FADT_FLAGS + 2] &= !(1 << 4);
            let address = if space == 2 { port << 32 } else { port };
            bytes[FADT_X_PM_TMR_BLK..][..4].copy_from_slice(&[space, 32, 0, access_size]);
            bytes[FADT_X_PM_TMR_BLK + 4..][..8].copy_from_slice(&address.to_le_bytes());
            let fadt: Fadt = zero_extended(&bytes);
            let found = fadt.pm_timer_block().unwrap().unwrap();
            let expected = match found.address_space {
                AddressSpace::SystemIo => free_port(found.address, PM_TIMER_PORTS)
                    .map(|port| Some(PmTimer { port, wide: { fadt.flags }.pm_timer_is_32_bit() })),
                _ => Err(RegisterError::Space { space }),
            };
            prop_assert_eq!(pm_timer(&bytes), expected);
        }
    }

    #[test]
    fn an_hpet_lies_in_memory_or_is_not_used() {
        let mut table = vec![0; 56];
        table[HPET_BASE_ADDRESS + 4..][..8].copy_from_slice(&0xfed0_0000u64.to_le_bytes());
        assert_eq!(hpet_address(&table), Ok(0xfed0_0000));
        table[HPET_BASE_ADDRESS] = SYSTEM_IO;
        assert_eq!(hpet_address(&table), Err(RegisterError::Space { space: SYSTEM_IO }));
        assert_eq!(hpet_address(&table[..50]), Err(RegisterError::Truncated { found: 50 }));
    }
}
