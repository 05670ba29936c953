//! From the MADT's entries to the list of CPUs to start.
//!
//! Firmware lists CPUs that are switched off, lists one twice (by type 0 and by type 9), fills up with placeholders,
//! and numbers with gaps. A [`RosterEntry`] stands for a CPU that is there, once, with a dense [`CpuId`]; what was
//! passed over is counted in the [`Roster`]. [`count_usable`] says how large a table [`Roster::fill`] may need, so
//! that tables grow with the machine. Reads [`super::madt`]; `smp` starts what is listed.

use core::fmt;

use super::entries::Fault;
use super::index::Index;
use super::madt::{CpuFlags, Madt, MadtEntry};
use crate::boot::defect::{Defect, DefectSink};
use crate::cpu::id::{ApicId, CpuId};
use crate::memory::frames::NodeId;

#[cfg(test)]
mod tests;

/// One usable CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RosterEntry {
    /// octopod's number for it.
    pub cpu: CpuId,
    /// The hardware's.
    pub apic_id: ApicId,
    /// What the ACPI namespace calls it; `None` for a bootstrap processor that the table does not list.
    pub uid: Option<u32>,
    /// Its NUMA node: the first one until another table has told.
    pub node: NodeId,
}

impl RosterEntry {
    /// What an unused slot of a table holds.
    pub const EMPTY: RosterEntry =
        RosterEntry { cpu: CpuId(u32::MAX), apic_id: ApicId::X2APIC_BROADCAST, uid: None, node: NodeId(0) };
}

/// What came of reading the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// CPUs written to the caller's table.
    pub cpus: u32,
    /// Whether the table lists the bootstrap processor as enabled. If not, it was put in: it is evidently running.
    pub bsp_listed: bool,
    /// Disabled entries whose CPU may be plugged in later.
    pub hot_pluggable: u32,
    /// Other disabled entries. One for the bootstrap processor, which is running, does not count.
    pub disabled: u32,
    /// Enabled entries for an APIC ID that is on the list already.
    pub duplicates: u32,
    /// Enabled entries whose APIC ID is the one that addresses every CPU.
    pub broadcast_ids: u32,
    /// Usable CPUs for which the caller's table had no room. One that is listed twice counts twice.
    pub left_out: u32,
    /// CPUs on the list that only x2APIC mode can address, since their ID does not fit into 8 bits.
    pub beyond_xapic: u32,
    /// Entries that could not be read, of any type.
    pub broken: u32,
    /// The first of those that may hide CPUs.
    pub hiding: Option<Fault>,
    /// Whether the table lists a CPU at all, enabled or not.
    pub lists_any: bool,
}

impl Roster {
    /// How many CPUs the table lists as enabled, the bootstrap processor among them; 0 if it lists no CPU at all.
    pub fn enabled(&self) -> u32 {
        if self.lists_any { self.cpus + self.left_out } else { 0 }
    }
}

/// How many slots [`Roster::fill`] needs at most: all enabled entries, and one for a bootstrap processor that is not
/// among them. Duplicates are not looked for, so it may be more than there are CPUs.
pub fn count_usable(madt: &Madt<'_>) -> usize {
    let usable =
        madt.entries().flatten().filter_map(cpu_of).filter(|listed| listed.enabled && !listed.is_broadcast);
    usable.count() + 1
}

impl Roster {
    /// Writes the usable CPUs to the beginning of `slots`: the bootstrap processor as CPU 0, then the others in the
    /// table's order. The slots beyond [`Roster::cpus`] are left as they are.
    ///
    /// `index` has room for as many entries, and afterwards holds the slots by their APIC IDs: a list in any order takes
    /// linear time.
    pub fn fill(madt: &Madt<'_>, bsp: ApicId, slots: &mut [RosterEntry], index: &mut Index<'_>) -> Roster {
        let mut roster = Roster::default();
        index.clear();
        let Some((bsp_slot, ap_slots)) = slots.split_first_mut() else {
            return roster;
        };
        *bsp_slot = RosterEntry { cpu: CpuId::BSP, apic_id: bsp, ..RosterEntry::EMPTY };
        index.enter(bsp.0, 0, |_| bsp.0);
        let mut aps = 0;
        for entry in madt.entries() {
            let listed = match entry.map(cpu_of) {
                Ok(Some(listed)) => listed,
                Ok(None) => continue,
                Err(fault) => {
                    roster.broken += 1;
                    if fault.may_hide_a_cpu() {
                        roster.hiding.get_or_insert(fault);
                    }
                    continue;
                }
            };
            roster.lists_any = true;
            let id_at = |place: usize| match place {
                0 => bsp.0,
                ap => ap_slots[ap - 1].apic_id.0,
            };
            if !listed.enabled && listed.apic_id == bsp {
                // It is evidently there; `bsp_listed` tells that the table does not say so.
            } else if !listed.enabled {
                let count =
                    if listed.online_capable { &mut roster.hot_pluggable } else { &mut roster.disabled };
                *count += 1;
            } else if listed.is_broadcast {
                roster.broadcast_ids += 1;
            } else if listed.apic_id == bsp {
                roster.duplicates += u32::from(roster.bsp_listed);
                roster.bsp_listed = true;
                bsp_slot.uid.get_or_insert(listed.uid);
            } else if index.find(listed.apic_id.0, id_at).is_some() {
                roster.duplicates += 1;
            } else if aps < ap_slots.len() {
                index.enter(listed.apic_id.0, aps + 1, id_at);
                let (cpu, apic_id, uid) = (CpuId(aps as u32 + 1), listed.apic_id, Some(listed.uid));
                ap_slots[aps] = RosterEntry { cpu, apic_id, uid, ..RosterEntry::EMPTY };
                aps += 1;
                roster.beyond_xapic += u32::from(listed.apic_id >= ApicId::XAPIC_BROADCAST);
            } else {
                roster.left_out += 1;
            }
        }
        roster.cpus = aps as u32 + 1;
        roster.beyond_xapic += u32::from(bsp >= ApicId::XAPIC_BROADCAST);
        roster
    }
}

impl Roster {
    /// Reports what is odd about the list that a table at `address` has.
    pub fn report(&self, bsp: ApicId, address: u64, defects: DefectSink<'_>) {
        if !self.bsp_listed {
            let reason = format_args!("does not list the bootstrap processor, APIC ID {bsp}, as enabled");
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

/// A CPU as the table lists it, whichever type of entry it is listed by.
struct ListedCpu {
    apic_id: ApicId,
    uid: u32,
    enabled: bool,
    online_capable: bool,
    is_broadcast: bool,
}

/// The CPU that an entry lists, if it lists one.
fn cpu_of(entry: MadtEntry<'_>) -> Option<ListedCpu> {
    let (apic_id, uid, flags, broadcast) = match entry {
        MadtEntry::LocalApic(cpu) => {
            (ApicId(cpu.apic_id.into()), cpu.processor_id.into(), cpu.flags, ApicId::XAPIC_BROADCAST)
        }
        // 0xff is a number like any other here: only x2APIC mode can reach CPUs of this type past 254.
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

impl fmt::Display for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.cpus == 1 { "" } else { "s" };
        write!(f, "{} usable CPU{plural}", self.cpus)?;
        let notes = [
            (self.hot_pluggable, "absent but pluggable"),
            (self.disabled, "disabled"),
            (self.duplicates, "listed again"),
            (self.broadcast_ids, "with the broadcast ID"),
            (self.left_out, "left out for want of room"),
            (self.broken, "broken table entries"),
        ];
        for (count, what) in notes.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        if !self.bsp_listed {
            f.write_str(", the bootstrap processor is not listed")?;
        }
        Ok(())
    }
}
