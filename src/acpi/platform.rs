//! The tables' content as the rest of the kernel wants it.

use acpi::AcpiTables;
use acpi::fadt::Fadt;
use acpi::hpet::HpetTable;

use super::madt::{Madt, MadtEntry};
use super::numa::Numa;
use super::roster::{self, Roster, RosterEntry};
use super::slit::Slit;
use super::srat::Srat;
use super::tables::Reader;
use super::{IoApicEntry, PinRule, PmTimer, hpet_address, pm_timer, tables};
#[cfg(feature = "shell")]
use super::{ResetRegister, reset_register};
use crate::boot::BootInfo;
use crate::config::MAX_NODES;
use crate::cpu::ApicId;
use crate::memory;

/// A local APIC's pin that NMI is wired to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NmiPin {
    /// LINT0 or LINT1.
    pub pin: u8,
    /// The CPU's UID; `None` for all CPUs.
    pub uid: Option<u32>,
    /// Whether the pin is active when low.
    pub active_low: bool,
}

impl NmiPin {
    /// Whether it is a pin of the CPU with that UID.
    pub fn applies_to(&self, uid: Option<u32>) -> bool {
        self.uid.is_none() || self.uid == uid
    }
}

/// The machine, as far as ACPI knows it.
#[derive(Clone, Copy, Debug)]
pub struct Platform {
    /// The usable CPUs, the boot processor first.
    pub cpus: &'static [RosterEntry],
    /// Where the local APICs' registers are, physical.
    pub local_apic_address: u64,
    /// The pins that NMI is wired to.
    pub nmi_pins: &'static [NmiPin],
    /// The I/O APICs.
    pub io_apics: &'static [IoApicEntry],
    /// What is special about their pins.
    pub pin_rules: &'static [PinRule],
    /// The power management timer.
    pub pm_timer: Option<PmTimer>,
    /// The HPET's registers, physical.
    pub hpet: Option<u64>,
    /// What memory is near to which CPUs.
    pub numa: &'static Numa<'static>,
}

/// Why the machine cannot be described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// Reads the tables. `bsp` is the CPU that runs this. A machine without tables, or with broken ones, is described as
/// having this one CPU, with a warning.
/// No more than `max_cpus` CPUs are listed.
pub fn read_platform(boot: &BootInfo, bsp: ApicId, max_cpus: u32) -> Result<Platform, OutOfMemory> {
    let (tables, address) = match tables::find(boot.rsdp, boot.extended_bios_data) {
        Ok(found) => found,
        Err(error) => {
            log::warn!("no ACPI tables ({error:?}): going on with one CPU");
            return alone(bsp);
        }
    };
    let pm_timer = tables::bytes_of::<Fadt>(&tables).ok().and_then(pm_timer);
    let hpet = tables::bytes_of::<HpetTable>(&tables).ok().and_then(hpet_address);
    let numa = numa(&tables)?;
    let madt = match tables::bytes_of::<acpi::madt::Madt>(&tables).map(Madt::parse) {
        Ok(Ok(madt)) => madt,
        Ok(Err(error)) => {
            log::warn!("{error}: going on with one CPU");
            return Ok(Platform { pm_timer, hpet, numa, ..alone(bsp)? });
        }
        Err(error) => {
            log::warn!("no table of CPUs ({error:?}): going on with one");
            return Ok(Platform { pm_timer, hpet, numa, ..alone(bsp)? });
        }
    };
    let cpus = memory::alloc_slice_from(core::iter::repeat_n(
        RosterEntry::EMPTY,
        roster::count_usable(&madt).min(max_cpus as usize),
    ))
    .ok_or(OutOfMemory)?;
    let roster = Roster::fill(&madt, bsp, cpus);
    log::info!("RSDP at {address:#x}: {roster}");
    log::debug!("{} NUMA nodes, local APICs at {:#x}", numa.nodes(), madt.local_apic_address());
    if roster.left_out > 0 {
        log::warn!("{} of the listed CPUs left out: there may be at most {max_cpus}", roster.left_out);
    }
    let mut node_of = numa.nodes_of_cpus();
    cpus.iter_mut().for_each(|cpu| cpu.node = node_of(cpu.apic_id));
    let pins = madt.entries().flatten().filter_map(nmi_pin);
    let nmi_pins = memory::alloc_slice_from(pins).ok_or(OutOfMemory)?;
    let io_apics = madt.entries().flatten().filter_map(IoApicEntry::from_madt);
    let pin_rules = madt.entries().flatten().filter_map(PinRule::from_madt);
    Ok(Platform {
        cpus: &cpus[..roster.cpus as usize],
        local_apic_address: madt.local_apic_address(),
        nmi_pins,
        io_apics: memory::alloc_slice_from(io_apics).ok_or(OutOfMemory)?,
        pin_rules: memory::alloc_slice_from(pin_rules).ok_or(OutOfMemory)?,
        pm_timer,
        hpet,
        numa,
    })
}

/// What resets the machine, if its tables say so. They are read once more: nobody needs it but at the very end.
#[cfg(feature = "shell")]
pub fn find_reset_register(boot: &BootInfo) -> Option<ResetRegister> {
    let (tables, _) = tables::find(boot.rsdp, boot.extended_bios_data).ok()?;
    tables::bytes_of::<Fadt>(&tables).ok().and_then(reset_register)
}

/// The nodes, if the tables tell of any and do not contradict themselves.
#[inline(never)]
fn numa(tables: &AcpiTables<Reader>) -> Result<&'static Numa<'static>, OutOfMemory> {
    let numa = one_node()?;
    let Ok(bytes) = tables::bytes_of::<tables::Srat>(tables) else { return Ok(numa) };
    let slit = tables::bytes_of::<tables::Slit>(tables).ok().and_then(|bytes| {
        Slit::parse(bytes).inspect_err(|error| log::warn!("{error}: taking all nodes for equally far")).ok()
    });
    match Srat::parse(bytes).map(|srat| numa.fill(srat, slit)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::warn!("{error}: going on with one node"),
        Err(error) => log::warn!("{error}: going on with one node"),
    }
    if numa.left_out > 0 {
        log::warn!("{} NUMA nodes left out: there may be at most {MAX_NODES}", numa.left_out);
    }
    Ok(numa)
}

#[inline(never)]
fn one_node() -> Result<&'static mut Numa<'static>, OutOfMemory> {
    let kept = memory::alloc_slice_from(core::iter::once_with(Numa::one_node));
    kept.and_then(|one| one.first_mut()).ok_or(OutOfMemory)
}

fn nmi_pin(entry: MadtEntry) -> Option<NmiPin> {
    let (uid, flags, pin) = match entry {
        MadtEntry::LocalApicNmi { uid, flags, lint } => {
            ((uid != 0xff).then_some(u32::from(uid)), flags, lint)
        }
        MadtEntry::LocalX2ApicNmi { uid, flags, lint } => ((uid != u32::MAX).then_some(uid), flags, lint),
        _ => return None,
    };
    // Polarity is in the low two bits (ACPI 6.5 §5.2.12.5, table 5.26): 3 is active low.
    Some(NmiPin { pin, uid, active_low: flags & 3 == 3 })
}

/// A machine of which nothing is known but the CPU that runs this.
fn alone(bsp: ApicId) -> Result<Platform, OutOfMemory> {
    let this = RosterEntry { apic_id: bsp, cpu: crate::cpu::CpuId::BSP, ..RosterEntry::EMPTY };
    let cpus = memory::alloc_slice_from(core::iter::once(this)).ok_or(OutOfMemory)?;
    // SAFETY: the MSR exists wherever there is a local APIC, which rt0 has checked; the register's low bits are flags
    // (SDM Vol. 3A, 11.4.4).
    let base = unsafe { x86_64::registers::model_specific::Msr::new(0x1b).read() };
    Ok(Platform {
        cpus,
        local_apic_address: base & 0x000f_ffff_ffff_f000,
        nmi_pins: &[],
        io_apics: &[],
        pin_rules: &[],
        pm_timer: None,
        hpet: None,
        numa: one_node()?,
    })
}
