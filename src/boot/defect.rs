//! Defects: errors in the tables of firmware, in the boot information or in the command line.
//!
//! The kernel ignores the part that a defect concerns and continues. Each defect is one warning in the log and one record for
//! the launcher, which lists it in the report's `warnings`. Code that finds defects takes a [`DefectSink`], so that it can be
//! tested on a host. The kernel's sink is `report_defect`.

use core::fmt;

/// A defect and its place.
#[derive(Clone, Copy, Debug)]
pub struct Defect<'a> {
    /// The table's signature, or another name such as `memory map` or `command line`.
    pub table: &'static str,
    /// The physical address of the table, or the address that the table contains.
    pub address: Option<u64>,
    /// The offset in the table, in bytes.
    pub offset: Option<usize>,
    /// The error and its consequence, without a full stop.
    pub reason: fmt::Arguments<'a>,
}

/// The receiver of defects.
pub(crate) type DefectSink<'a> = &'a mut dyn FnMut(&Defect<'_>);

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
pub(crate) use live::{report_defect, unreported_defects};

#[cfg(target_os = "none")]
mod live {
    use core::sync::atomic::{AtomicU32, Ordering};

    use super::Defect;
    use crate::console::{self, LineBuffer};
    use crate::wire::{Defect as DefectRecord, Record};

    /// The maximum number of defects that are logged one by one.
    const MAX_REPORTED: u32 = 48;

    static FOUND: AtomicU32 = AtomicU32::new(0);

    /// Logs a defect as a warning and sends it to the launcher. Beyond [`MAX_REPORTED`] defects it only counts.
    ///
    /// **Context:** thread or interrupt; not NMI. Takes the console's lock (spins).
    pub(crate) fn report_defect(defect: &Defect<'_>) {
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

    /// Returns the number of defects that [`report_defect`] counted without logging them.
    pub(crate) fn unreported_defects() -> u32 {
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
