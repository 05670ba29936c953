//! Where the tables say that timers of known frequency are.

/// The power management timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PmTimer {
    /// Its I/O port.
    pub port: u16,
    /// Whether it has 32 bits rather than 24.
    pub wide: bool,
}

/// Fields of the FADT (ACPI 6.5 §5.2.9, table 5.9).
const FADT_PM_TMR_BLK: usize = 76;
const FADT_PM_TMR_LEN: usize = 91;
const FADT_FLAGS: usize = 112;
const FADT_TMR_VAL_EXT: u32 = 1 << 8;
const FADT_HW_REDUCED_ACPI: u32 = 1 << 20;
const FADT_X_PM_TMR_BLK: usize = 208;

/// A field of the HPET's table (IA-PC HPET specification 1.0a, §3.2.4).
const HPET_BASE_ADDRESS: usize = 40;

/// Address spaces of a generic address structure (ACPI 6.5 §5.2.3.2).
pub(super) const SYSTEM_MEMORY: u8 = 0;
pub(super) const SYSTEM_IO: u8 = 1;

/// The power management timer that a FADT tells of. `None` where the hardware has none or the table is broken.
pub fn pm_timer(fadt: &[u8]) -> Option<PmTimer> {
    let flags = u32_at(fadt, FADT_FLAGS)?;
    if flags & FADT_HW_REDUCED_ACPI != 0 {
        return None;
    }
    let extended = generic_address(fadt, FADT_X_PM_TMR_BLK).filter(|(_, address)| *address != 0);
    let address = match extended {
        Some((SYSTEM_IO, address)) => address,
        Some(_) => return None,
        None if *fadt.get(FADT_PM_TMR_LEN)? >= 4 => u64::from(u32_at(fadt, FADT_PM_TMR_BLK)?),
        None => return None,
    };
    let port = u16::try_from(address).ok().filter(|port| *port != 0)?;
    Some(PmTimer { port, wide: flags & FADT_TMR_VAL_EXT != 0 })
}

/// The physical address of the HPET's registers. `None` where the table puts them anywhere but in memory.
pub fn hpet_address(hpet: &[u8]) -> Option<u64> {
    match generic_address(hpet, HPET_BASE_ADDRESS)? {
        (SYSTEM_MEMORY, address) => Some(address).filter(|address| *address != 0),
        _ => None,
    }
}

pub(super) fn generic_address(table: &[u8], offset: usize) -> Option<(u8, u64)> {
    let structure: &[u8; 12] = table.get(offset..)?.first_chunk()?;
    let [space, _, _, _, address @ ..] = structure;
    Some((*space, u64::from_le_bytes(*address)))
}

pub(super) fn u32_at(table: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*table.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(timer, Some(PmTimer { port: 0x608, wide: false }));
        let timer = pm_timer(&fadt(116, FADT_TMR_VAL_EXT, 0x608, 4));
        assert_eq!(timer, Some(PmTimer { port: 0x608, wide: true }));
    }

    #[test]
    fn the_extended_address_wins_and_must_be_a_port() {
        let mut table = fadt(276, 0, 0x608, 4);
        table[FADT_X_PM_TMR_BLK] = SYSTEM_IO;
        table[FADT_X_PM_TMR_BLK + 4..][..8].copy_from_slice(&0xb008u64.to_le_bytes());
        assert_eq!(pm_timer(&table), Some(PmTimer { port: 0xb008, wide: false }));
        table[FADT_X_PM_TMR_BLK] = SYSTEM_MEMORY;
        assert_eq!(pm_timer(&table), None);
    }

    #[test]
    fn a_machine_may_have_no_pm_timer() {
        assert_eq!(pm_timer(&fadt(276, FADT_HW_REDUCED_ACPI, 0x608, 4)), None);
        assert_eq!(pm_timer(&fadt(276, 0, 0x608, 0)), None);
        assert_eq!(pm_timer(&fadt(276, 0, 0, 4)), None);
        assert_eq!(pm_timer(&fadt(276, 0, 0x1_0608, 4)), None);
        assert_eq!(pm_timer(&[0; 80]), None);
        assert_eq!(pm_timer(&[]), None);
    }

    #[test]
    fn an_hpet_lies_in_memory_or_is_not_used() {
        let mut table = vec![0; 56];
        assert_eq!(hpet_address(&table), None);
        table[HPET_BASE_ADDRESS + 4..][..8].copy_from_slice(&0xfed0_0000u64.to_le_bytes());
        assert_eq!(hpet_address(&table), Some(0xfed0_0000));
        table[HPET_BASE_ADDRESS] = SYSTEM_IO;
        assert_eq!(hpet_address(&table), None);
        assert_eq!(hpet_address(&table[..50]), None);
    }
}
