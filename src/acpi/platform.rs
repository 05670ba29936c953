//! The tables' content as the rest of the kernel wants it.

use core::fmt;

use spin::Once;

use super::PmTimer;
use super::describe::Description;
use super::expected::{CpuLimit, ExpectedCpus};
use super::index::Index;
use super::live::{Early, Live};
use super::madt::Madt;
use super::numa::Numa;
use super::reset::ResetRegister;
use super::roster::{self, Roster, RosterEntry};
use super::rsdp::RsdpSource;
use super::slit::Slit;
use super::srat::Srat;
use super::tables::{self, NoTables};
use super::wiring::{self, IoApicEntry, NmiPin, PinRule};
use crate::boot::defect::Defect;
use crate::boot::io_regions::Device;
use crate::boot::memory_map::FRAME_BYTES;
use crate::boot::{BootInfo, Rsdp, report_defect};
use crate::config::MAX_CPUS;
use crate::cpu::registers::read_tsc;
use crate::cpu::{ApicId, CpuId, package_cpus};
use crate::memory;

/// Bytes of a local APIC's registers.
const LOCAL_APIC_BYTES: u64 = FRAME_BYTES;

/// What resets the machine, from [`read_platform`] on.
static RESET: Once<Option<ResetRegister>> = Once::new();

/// What resets the machine, if its tables say so. A register in memory is not mapped yet.
pub fn reset_register() -> Option<ResetRegister> {
    RESET.get().copied().flatten()
}

/// The machine, as far as ACPI knows it.
#[derive(Clone, Copy, Debug)]
pub struct Platform {
    /// The usable CPUs, the boot processor first.
    pub cpus: &'static [RosterEntry],
    /// How many there must be.
    pub expected: ExpectedCpus,
    /// Where the tables have the local APICs' registers, physical; `None` where no table says.
    pub local_apic_address: Option<u64>,
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

/// There is no memory for the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// How many CPUs there are to list.
    pub cpus: usize,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "too little memory for a list of {} CPUs (max_cpus= limits it)", self.cpus)
    }
}

/// Reserves the tables that firmware left in memory that it calls usable, before anything is written there. Defects are
/// reported when [`read_platform`] comes upon them.
///
/// # Safety
/// On rt0's page tables, and nothing is written to memory outside the image meanwhile.
pub unsafe fn reserve_tables(boot: &mut BootInfo, address_bits: u8) {
    let (sources, area) = (sources(boot), boot.extended_bios_data);
    // SAFETY: rt0's page tables are in use and nothing outside the image is written meanwhile, guaranteed by the caller (see
    // # Safety); `memory` ends with this function.
    let memory = unsafe { Early::new(boot.map, address_bits) };
    let _ = tables::find(&memory, sources.into_iter().flatten(), area, &mut |_| {});
}

/// Where RSDPs may be, the most authoritative first.
fn sources(boot: &BootInfo) -> [Option<RsdpSource<'static>>; 2] {
    let by_loader = boot.rsdp.map(|rsdp| match rsdp {
        Rsdp::At(address) => RsdpSource::Loader(address),
        Rsdp::Copy(bytes) => RsdpSource::Copy(bytes),
    });
    [boot.rsdp_by_command_line.map(RsdpSource::CommandLine), by_loader]
}

/// Reads the tables. `bsp` is the CPU that runs this; without a table that lists CPUs it is the only one. No more than
/// `max_cpus` CPUs are listed, if the command line says so. Once, by the BSP; what is wrong is reported.
///
/// # Errors
/// If there is no memory for the list of CPUs.
pub fn read_platform(boot: &BootInfo, bsp: ApicId, max_cpus: Option<u32>) -> Result<Platform, OutOfMemory> {
    let sink = &mut report_defect;
    // Before any table: none can lie there.
    let local_apic = crate::cpu::registers::apic_base();
    if let Err(fault) = memory::claim_device(Device::LocalApic, local_apic, LOCAL_APIC_BYTES) {
        let reason = format_args!("the processor has its registers {fault}");
        report_defect(&Defect { table: "local APIC", address: Some(local_apic), offset: None, reason });
    }
    let found = tables::find(&Live, sources(boot).into_iter().flatten(), boot.extended_bios_data, sink);
    let mut limit = max_cpus.map(CpuLimit::MaxCpus);
    let rsdp = found.ok().and_then(|tables| tables.rsdp);
    let description = match &found {
        Ok(tables) => Description::read(tables, &mut memory::claim_device, sink),
        Err(error) => {
            let reason = format_args!("{error}: falling back to one CPU");
            report_defect(&Defect { table: "RSDP", address: None, offset: None, reason });
            if *error == NoTables::NoRsdp {
                limit = Some(CpuLimit::NoAcpi);
            }
            Description::default()
        }
    };
    RESET.call_once(|| description.reset);
    let by_cpuid = package_cpus();
    let numa = numa(boot, description.srat, description.slit)?;
    let platform = Platform {
        cpus: &[],
        expected: ExpectedCpus { by_cpuid, limit, ..ExpectedCpus::default() },
        local_apic_address: None,
        nmi_pins: &[],
        io_apics: &[],
        pin_rules: &[],
        pm_timer: description.pm_timer,
        hpet: description.hpet,
        numa,
    };
    let Some((madt, address)) = description.madt else {
        let this = RosterEntry { apic_id: bsp, cpu: CpuId::BSP, ..RosterEntry::EMPTY };
        let cpus = memory::alloc_slice_from(core::iter::once(this)).ok_or(OutOfMemory { cpus: 1 })?;
        return Ok(Platform { cpus, ..platform });
    };
    let list = CpuList::read(&madt, bsp, max_cpus, numa)?;
    let roster = list.roster;
    match rsdp {
        Some(rsdp) => log::info!("RSDP at {rsdp:#x}: {roster}"),
        None => log::info!("RSDP passed by the boot loader: {roster}"),
    }
    log::debug!("{} NUMA nodes, local APICs at {:#x}", numa.nodes(), madt.local_apic_address());
    roster.report(bsp, address, sink);
    if roster.left_out > 0 {
        let most = list.cpus.len();
        log::warn!("{} of the listed CPUs left out: there may be at most {most}", roster.left_out);
    }
    let no_memory = OutOfMemory { cpus: list.cpus.len() };
    let pins = wiring::nmi_pins(&madt, address, list.cpus, &list.by_uid, sink);
    let nmi_pins = memory::alloc_slice_from(pins).ok_or(no_memory)?;
    let wiring = &description.wiring;
    Ok(Platform {
        cpus: list.cpus,
        expected: ExpectedCpus {
            by_tables: roster.enabled(),
            disabled: roster.disabled + roster.hot_pluggable,
            hiding: roster.hiding,
            ..platform.expected
        },
        local_apic_address: Some(madt.local_apic_address()),
        nmi_pins,
        io_apics: memory::alloc_slice_from(wiring.io_apics.iter().copied()).ok_or(no_memory)?,
        pin_rules: memory::alloc_slice_from(wiring.pin_rules.iter().copied()).ok_or(no_memory)?,
        ..platform
    })
}

/// The CPUs of a MADT.
struct CpuList {
    cpus: &'static [RosterEntry],
    roster: Roster,
    /// Finds them by their UIDs.
    by_uid: Index<'static>,
}

impl CpuList {
    #[inline(never)]
    fn read(
        madt: &Madt<'_>,
        bsp: ApicId,
        max_cpus: Option<u32>,
        numa: &Numa<'_>,
    ) -> Result<CpuList, OutOfMemory> {
        let room = roster::count_usable(madt).min(max_cpus.unwrap_or(MAX_CPUS) as usize);
        let no_memory = OutOfMemory { cpus: room };
        let slots = memory::alloc_slice_from(core::iter::repeat_n(RosterEntry::EMPTY, room));
        let slots = slots.ok_or(no_memory)?;
        let words = memory::alloc_slice_from(core::iter::repeat_n(0u16, Index::words_for(room)));
        let mut index = Index::new(words.ok_or(no_memory)?, read_tsc());
        let roster = Roster::fill(madt, bsp, slots, &mut index);
        let (cpus, _) = slots.split_at_mut(roster.cpus as usize);
        numa.assign(cpus, &index);
        index.clear();
        let uid_at = |place: usize| cpus[place].uid.unwrap_or(u32::MAX);
        for (place, cpu) in cpus.iter().enumerate() {
            if let Some(uid) = cpu.uid {
                index.enter(uid, place, uid_at);
            }
        }
        Ok(CpuList { cpus, roster, by_uid: index })
    }
}

/// The nodes, if the tables tell of any and do not contradict themselves.
#[inline(never)]
fn numa(
    boot: &BootInfo,
    srat: Option<(Srat<'static>, u64)>,
    slit: Option<Slit<'static>>,
) -> Result<&'static Numa<'static>, OutOfMemory> {
    let kept = memory::alloc_slice_from(core::iter::once_with(Numa::one_node));
    let numa = kept.and_then(|one| one.first_mut()).ok_or(OutOfMemory { cpus: 1 })?;
    let Some((srat, address)) = srat else { return Ok(numa) };
    numa.fill_or_report(srat, address, slit, boot.map.regions(), &mut report_defect);
    Ok(numa)
}
