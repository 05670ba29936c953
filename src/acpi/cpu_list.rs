//! The list of CPUs to start, from the MADT.
//!
//! Firmware lists disabled CPUs, lists a CPU twice (by type 0 and by type 9), adds placeholders, and numbers CPUs with
//! gaps. The list has one [`CpuEntry`] with a dense [`CpuId`] for each usable CPU. [`CpuList`] counts the skipped
//! entries. [`count_usable`] returns the length of the table that [`CpuList::fill`] needs, so that tables grow with the
//! machine. `smp` starts the CPUs of the list.

use core::fmt;

use super::entries::EntryError;
use super::id_index::IdIndex;
use super::madt::{CpuFlags, Madt, MadtEntry};
use crate::boot::defect::{Defect, DefectSink};
use crate::cpu::id::{ApicId, CpuId};
use crate::memory::frames::NodeId;

#[cfg(test)]
mod tests;

/// One usable CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuEntry {
    /// The kernel's number for it.
    pub cpu: CpuId,
    /// Its APIC ID.
    pub apic_id: ApicId,
    /// Its UID in the ACPI namespace; `None` for a BSP that the MADT does not list.
    pub uid: Option<u32>,
    /// Its NUMA node: node 0 until the SRAT has been read.
    pub node: NodeId,
}

impl CpuEntry {
    /// The content of an unused slot.
    pub const EMPTY: CpuEntry =
        CpuEntry { cpu: CpuId(u32::MAX), apic_id: ApicId::X2APIC_BROADCAST, uid: None, node: NodeId(0) };
}

/// The result of reading the MADT: counts of the CPUs that are listed and of the entries that are skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuList {
    /// The CPUs written to the caller's table.
    pub cpus: u32,
    /// The MADT lists the BSP as enabled. If it does not, the BSP is added, because it runs.
    pub bsp_listed: bool,
    /// Disabled entries whose CPU may be plugged in later (online capable).
    pub hot_pluggable: u32,
    /// Other disabled entries, except one for the BSP.
    pub disabled: u32,
    /// Enabled entries whose APIC ID is in the list already.
    pub duplicates: u32,
    /// Enabled entries whose APIC ID is the broadcast ID.
    pub broadcast_ids: u32,
    /// Usable CPUs that do not fit into the caller's table. A CPU that is listed twice counts twice.
    pub left_out: u32,
    /// Listed CPUs whose APIC ID needs x2APIC mode, because it does not fit into 8 bits.
    pub beyond_xapic: u32,
    /// Invalid entries of any type.
    pub broken: u32,
    /// The first invalid entry that may hide CPUs.
    pub hiding: Option<EntryError>,
    /// The MADT lists at least one CPU, enabled or not.
    pub lists_any: bool,
}

impl CpuList {
    /// Returns the number of CPUs that the MADT lists as enabled, the BSP included, or 0 if it lists no CPU.
    pub fn enabled(&self) -> u32 {
        if self.lists_any { self.cpus + self.left_out } else { 0 }
    }
}

/// Returns an upper bound of the slots that [`CpuList::fill`] needs: all enabled entries, and one for an unlisted BSP.
/// Duplicates are not detected.
pub fn count_usable(madt: &Madt<'_>) -> usize {
    let usable =
        madt.entries().flatten().filter_map(cpu_of).filter(|listed| listed.enabled && !listed.is_broadcast);
    usable.count() + 1
}

impl CpuList {
    /// Writes the usable CPUs to the start of `slots`: the BSP as CPU 0, then the others in the table's order. The slots
    /// from [`CpuList::cpus`] on are unchanged.
    ///
    /// `index` has room for as many entries. Afterwards it finds the slots by APIC ID. A list in any order takes linear
    /// time.
    pub fn fill(madt: &Madt<'_>, bsp: ApicId, slots: &mut [CpuEntry], index: &mut IdIndex<'_>) -> CpuList {
        let mut list = CpuList::default();
        index.clear();
        let Some((bsp_slot, ap_slots)) = slots.split_first_mut() else {
            return list;
        };
        *bsp_slot = CpuEntry { cpu: CpuId::BSP, apic_id: bsp, ..CpuEntry::EMPTY };
        index.insert(bsp.0, 0, |_| bsp.0);
        let mut aps = 0;
        for entry in madt.entries() {
            let listed = match entry.map(cpu_of) {
                Ok(Some(listed)) => listed,
                Ok(None) => continue,
                Err(error) => {
                    list.broken += 1;
                    if error.may_hide_cpus() {
                        list.hiding.get_or_insert(error);
                    }
                    continue;
                }
            };
            list.lists_any = true;
            let id_at = |slot: usize| match slot {
                0 => bsp.0,
                ap => ap_slots[ap - 1].apic_id.0,
            };
            if !listed.enabled && listed.apic_id == bsp {
                // The BSP runs; `bsp_listed` records that the table does not list it as enabled.
            } else if !listed.enabled {
                let count = if listed.online_capable { &mut list.hot_pluggable } else { &mut list.disabled };
                *count += 1;
            } else if listed.is_broadcast {
                list.broadcast_ids += 1;
            } else if listed.apic_id == bsp {
                list.duplicates += u32::from(list.bsp_listed);
                list.bsp_listed = true;
                bsp_slot.uid.get_or_insert(listed.uid);
            } else if index.find(listed.apic_id.0, id_at).is_some() {
                list.duplicates += 1;
            } else if aps < ap_slots.len() {
                index.insert(listed.apic_id.0, aps + 1, id_at);
                let (cpu, apic_id, uid) = (CpuId(aps as u32 + 1), listed.apic_id, Some(listed.uid));
                ap_slots[aps] = CpuEntry { cpu, apic_id, uid, ..CpuEntry::EMPTY };
                aps += 1;
                list.beyond_xapic += u32::from(listed.apic_id >= ApicId::XAPIC_BROADCAST);
            } else {
                list.left_out += 1;
            }
        }
        list.cpus = aps as u32 + 1;
        list.beyond_xapic += u32::from(bsp >= ApicId::XAPIC_BROADCAST);
        list
    }
}

impl CpuList {
    /// Reports what is wrong with the list of the table at `address`.
    pub fn report(&self, bsp: ApicId, address: u64, defects: DefectSink<'_>) {
        if !self.bsp_listed {
            let reason = format_args!("BSP (APIC ID {bsp}) not listed as enabled");
            defects(&Defect { table: "MADT", address: Some(address), offset: None, reason });
        }
        let odd = [
            (self.duplicates, "that another enabled entry lists as well"),
            (self.broadcast_ids, "whose APIC ID is the broadcast ID"),
        ];
        for (count, what) in odd.into_iter().filter(|(count, _)| *count > 0) {
            let reason = format_args!("{count} enabled CPU entries ignored, for a CPU {what}");
            defects(&Defect { table: "MADT", address: Some(address), offset: None, reason });
        }
    }
}

/// A CPU of the MADT, from either type of entry.
struct ListedCpu {
    apic_id: ApicId,
    uid: u32,
    enabled: bool,
    online_capable: bool,
    is_broadcast: bool,
}

/// Returns the CPU that an entry lists, if it lists one.
fn cpu_of(entry: MadtEntry<'_>) -> Option<ListedCpu> {
    let (apic_id, uid, flags, broadcast) = match entry {
        MadtEntry::LocalApic(cpu) => {
            (ApicId(cpu.apic_id.into()), cpu.processor_id.into(), cpu.flags, ApicId::XAPIC_BROADCAST)
        }
        // 0xff is a valid ID here: entries of this type are for IDs that need x2APIC mode.
        MadtEntry::LocalX2Apic(cpu) => {
            (ApicId(cpu.x2apic_id), cpu.processor_uid, cpu.flags, ApicId::X2APIC_BROADCAST)
        }
        _ => return None,
    };
    let flags = CpuFlags(flags);
    Some(ListedCpu {
        apic_id,
        uid,
        enabled: flags.enabled(),
        online_capable: flags.online_capable(),
        is_broadcast: apic_id == broadcast,
    })
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.cpus == 1 { "" } else { "s" };
        write!(f, "{} usable CPU{plural}", self.cpus)?;
        let notes = [
            (self.hot_pluggable, "absent but pluggable"),
            (self.disabled, "disabled"),
            (self.duplicates, "listed again"),
            (self.broadcast_ids, "with the broadcast ID"),
            (self.left_out, "beyond the limit"),
            (self.broken, "invalid table entries"),
        ];
        for (count, what) in notes.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        if !self.bsp_listed {
            f.write_str(", BSP not listed")?;
        }
        Ok(())
    }
}
