//! The reset register of the FADT (ACPI 6.5 §4.8.3.6).

use super::layout::{FADT_RESET_VALUE, fadt_flags, fadt_reset_value};
use super::timers::{RegisterError, SYSTEM_IO, SYSTEM_MEMORY, free_port, generic_address};

/// The offset of the register in the FADT (ACPI 6.5 §5.2.9, table 5.9): a generic address structure right before its
/// value. The field is private in the `acpi` crate: see [`super::layout`].
const FADT_RESET_REG: usize = FADT_RESET_VALUE - 12;

/// The register and the value that reset the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResetRegister {
    /// An I/O port.
    Port {
        /// The port.
        port: u16,
        /// The value to write.
        value: u8,
    },
    /// A byte in memory.
    Memory {
        /// The physical address.
        address: u64,
        /// The value to write.
        value: u8,
    },
}

/// Returns the reset register of a FADT; `None` if there is none.
///
/// # Errors
/// [`RegisterError`]: the register that the table names is not used. A register in PCI configuration space is not used
/// either.
pub(crate) fn reset_register(fadt: &[u8]) -> Result<Option<ResetRegister>, RegisterError> {
    let truncated = RegisterError::Truncated { found: fadt.len() };
    // The first revision defines neither the flag nor the field.
    let Some(flags) = fadt_flags(fadt) else { return Ok(None) };
    if !flags.supports_system_reset_via_fadt() {
        return Ok(None);
    }
    let value = fadt_reset_value(fadt).ok_or(truncated)?;
    match generic_address(fadt, FADT_RESET_REG).ok_or(truncated)? {
        (_, 0) => Ok(None),
        (SYSTEM_IO, port) => Ok(Some(ResetRegister::Port { port: free_port(port, 1)?, value })),
        (SYSTEM_MEMORY, address) => Ok(Some(ResetRegister::Memory { address, value })),
        (space, _) => Err(RegisterError::Space { space }),
    }
}

#[cfg(test)]
mod tests {
    use ::acpi::address::AddressSpace;
    use ::acpi::fadt::Fadt;

    use super::super::layout::zero_extended;
    use super::*;

    /// A field and a flag of the FADT, as numbers of the specification.
    const FADT_FLAGS: usize = 112;
    const FADT_RESET_REG_SUP: u32 = 1 << 10;

    fn fadt(flags: u32, space: u8, address: u64) -> Vec<u8> {
        let mut table = vec![0; 244];
        table[FADT_FLAGS..][..4].copy_from_slice(&flags.to_le_bytes());
        table[FADT_RESET_REG] = space;
        table[FADT_RESET_REG + 4..][..8].copy_from_slice(&address.to_le_bytes());
        table[FADT_RESET_VALUE] = 0x0f;
        table
    }

    #[test]
    fn the_register_is_a_port_or_a_byte_of_memory() {
        let found = |table: &[u8]| reset_register(table).unwrap().unwrap();
        let port = ResetRegister::Port { port: 0xcf9, value: 0x0f };
        assert_eq!(found(&fadt(FADT_RESET_REG_SUP, SYSTEM_IO, 0xcf9)), port);
        let byte = ResetRegister::Memory { address: 0xfee0_0000, value: 0x0f };
        assert_eq!(found(&fadt(FADT_RESET_REG_SUP, SYSTEM_MEMORY, 0xfee0_0000)), byte);
    }

    #[test]
    fn the_crate_reads_the_same_register_except_for_a_reserved_access_size() {
        for (space, address) in [(SYSTEM_IO, 0xcf9), (SYSTEM_MEMORY, 0xfee0_0000)] {
            let mut table = fadt(FADT_RESET_REG_SUP, space, address);
            let ours = reset_register(&table);
            let theirs = zero_extended::<Fadt>(&table).reset_register().unwrap();
            assert_eq!(
                (theirs.address_space == AddressSpace::SystemIo, theirs.address),
                (space == SYSTEM_IO, address)
            );
            table[FADT_RESET_REG + 3] = 8;
            assert_eq!(reset_register(&table), ours);
            assert!(
                zero_extended::<Fadt>(&table).reset_register().is_err(),
                "the crate takes it: use its accessor"
            );
        }
    }

    #[test]
    fn a_machine_may_have_none() {
        for table in [fadt(0, SYSTEM_IO, 0xcf9), fadt(FADT_RESET_REG_SUP, SYSTEM_IO, 0), Vec::new()] {
            assert_eq!(reset_register(&table), Ok(None));
        }
    }

    #[test]
    fn an_unusable_register_is_rejected() {
        let fault = |space, address| reset_register(&fadt(FADT_RESET_REG_SUP, space, address)).unwrap_err();
        assert_eq!(fault(SYSTEM_IO, 0x1_0000), RegisterError::NoPort { address: 0x1_0000 });
        let owner = "the serial port";
        assert_eq!(fault(SYSTEM_IO, 0x3f8), RegisterError::PortTaken { port: 0x3f8, owner });
        assert_eq!(fault(2, 0xcf9), RegisterError::Space { space: 2 });
        let table = fadt(FADT_RESET_REG_SUP, SYSTEM_IO, 0xcf9);
        let cut = reset_register(&table[..FADT_RESET_VALUE]).unwrap_err();
        assert_eq!(cut, RegisterError::Truncated { found: FADT_RESET_VALUE });
    }
}
