//! The register by which a machine is reset, if the FADT tells of one (ACPI 6.5 §4.8.3.6).

use super::timers::{SYSTEM_IO, SYSTEM_MEMORY, generic_address, u32_at};

/// Fields of the FADT (ACPI 6.5 §5.2.9, table 5.9).
const FADT_FLAGS: usize = 112;
const FADT_RESET_REG_SUP: u32 = 1 << 10;
const FADT_RESET_REG: usize = 116;
const FADT_RESET_VALUE: usize = 128;

/// What is written where to reset the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetRegister {
    /// An I/O port.
    Port {
        /// The port.
        port: u16,
        /// What is written.
        value: u8,
    },
    /// A byte in memory.
    Memory {
        /// Where, physical.
        address: u64,
        /// What is written.
        value: u8,
    },
}

/// The reset register that a FADT tells of. `None` where there is none, or one in a PCI function's registers.
pub fn reset_register(fadt: &[u8]) -> Option<ResetRegister> {
    if u32_at(fadt, FADT_FLAGS)? & FADT_RESET_REG_SUP == 0 {
        return None;
    }
    let value = *fadt.get(FADT_RESET_VALUE)?;
    match generic_address(fadt, FADT_RESET_REG)? {
        (_, 0) => None,
        (SYSTEM_IO, port) => Some(ResetRegister::Port { port: port.try_into().ok()?, value }),
        (SYSTEM_MEMORY, address) => Some(ResetRegister::Memory { address, value }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let found = |table: &[u8]| reset_register(table);
        let port = ResetRegister::Port { port: 0xcf9, value: 0x0f };
        assert_eq!(found(&fadt(FADT_RESET_REG_SUP, SYSTEM_IO, 0xcf9)), Some(port));
        let byte = ResetRegister::Memory { address: 0xfee0_0000, value: 0x0f };
        assert_eq!(found(&fadt(FADT_RESET_REG_SUP, SYSTEM_MEMORY, 0xfee0_0000)), Some(byte));
    }

    #[test]
    fn a_machine_may_have_none() {
        let table = fadt(FADT_RESET_REG_SUP, SYSTEM_IO, 0xcf9);
        assert_eq!(reset_register(&fadt(0, SYSTEM_IO, 0xcf9)), None);
        assert_eq!(reset_register(&fadt(FADT_RESET_REG_SUP, SYSTEM_IO, 0)), None);
        assert_eq!(reset_register(&fadt(FADT_RESET_REG_SUP, SYSTEM_IO, 0x1_0000)), None);
        assert_eq!(reset_register(&fadt(FADT_RESET_REG_SUP, 2, 0xcf9)), None);
        assert_eq!([reset_register(&table[..FADT_RESET_VALUE]), reset_register(&[])], [None, None]);
    }
}
