//! Defects in what firmware, the boot loader or the command line describes: a table's entry, an address, a range.
//!
//! A defect costs the part that it concerns, never the boot. Each is one warning in the log and one record for the
//! launcher, which puts it among the report's `warnings`. Code that finds defects takes a [`DefectSink`], so that it can
//! be tested on a host; the kernel's own sink is `report_defect`.

use core::fmt;

/// A defect, and where it is.
#[derive(Clone, Copy, Debug)]
pub struct Defect<'a> {
    /// What holds it: a table by its signature, or another name, as `memory map` or `command line`.
    pub table: &'static str,
    /// The physical address that it concerns: the table's own, or the address that the table names.
    pub address: Option<u64>,
    /// Where in the table, in bytes.
    pub offset: Option<usize>,
    /// What is wrong, and what that costs, without a full stop.
    pub reason: fmt::Arguments<'a>,
}

/// What takes defects as they are found.
pub type DefectSink<'a> = &'a mut dyn FnMut(&Defect<'_>);

impl fmt::Display for Defect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.table)?;
        if let Some(address) = self.address {
            write!(f, " at {address:#x}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, ", offset {offset}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

#[cfg(target_os = "none")]
pub use live::{report_defect, unreported_defects};

#[cfg(target_os = "none")]
mod live {
    use core::sync::atomic::{AtomicU32, Ordering};

    use super::Defect;
    use crate::console::{self, LineBuffer};
    use crate::wire::{Defect as DefectRecord, Record};

    /// Defects that are logged one by one. Firmware that has more has them of one kind.
    const MAX_REPORTED: u32 = 48;

    static FOUND: AtomicU32 = AtomicU32::new(0);

    /// Logs a defect as a warning and sends it to the launcher; beyond [`MAX_REPORTED`] it only counts.
    ///
    /// **Context**: any but NMI; waits for the console's lock.
    pub fn report_defect(defect: &Defect<'_>) {
        if FOUND.fetch_add(1, Ordering::Relaxed) >= MAX_REPORTED {
            return;
        }
        log::warn!("{defect}");
        let reason = LineBuffer::<300>::format(defect.reason);
        console::send(&Record::Defect(DefectRecord {
            table: defect.table,
            address: defect.address,
            offset: defect.offset.map(|offset| offset as u64),
            reason: reason.as_str(),
        }));
    }

    /// How many defects [`report_defect`] only counted.
    pub fn unreported_defects() -> u32 {
        FOUND.load(Ordering::Relaxed).saturating_sub(MAX_REPORTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_names_table_address_and_offset() {
        let defect = |address, offset| {
            Defect { table: "MADT", address, offset, reason: format_args!("no CPU") }.to_string()
        };
        assert_eq!(defect(Some(0x1000), Some(44)), "MADT at 0x1000, offset 44: no CPU");
        assert_eq!(defect(Some(0x1000), None), "MADT at 0x1000: no CPU");
        assert_eq!(defect(None, None), "MADT: no CPU");
    }
}
