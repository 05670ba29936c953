//! The platform: the content of the ACPI tables for the rest of the kernel.

use core::fmt;

use spin::Once;

use super::PmTimer;
use super::cpu_list::{self, CpuEntry, CpuList};
use super::describe::Description;
use super::expected::{CpuLimit, ExpectedCpus};
use super::id_index::IdIndex;
use super::irq_routing::{self, InterruptSource, IoApicEntry, NmiPin};
use super::live::{EarlyMemory, LiveMemory};
use super::madt::Madt;
use super::numa::Numa;
use super::reset::ResetRegister;
use super::rsdp::RsdpSource;
use super::slit::Slit;
use super::srat::Srat;
use super::tables::{self, NoTables};
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

/// The reset register, set by [`read_platform`].
static RESET: Once<Option<ResetRegister>> = Once::new();

/// Returns the reset register, if the FADT has one. A register in memory is not mapped yet. **Context:** any.
pub(crate) fn reset_register() -> Option<ResetRegister> {
    RESET.get().copied().flatten()
}

/// The machine according to its ACPI tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Platform {
    /// The usable CPUs, the BSP first.
    pub cpus: &'static [CpuEntry],
    /// The expected number of CPUs.
    pub expected: ExpectedCpus,
    /// The physical address of the local APICs' registers in the MADT; `None` without a MADT.
    pub local_apic_address: Option<u64>,
    /// The local APIC pins that are NMI inputs.
    pub nmi_pins: &'static [NmiPin],
    /// The I/O APICs.
    pub io_apics: &'static [IoApicEntry],
    /// Interrupt source overrides and NMI sources.
    pub interrupt_sources: &'static [InterruptSource],
    /// The power management timer.
    pub pm_timer: Option<PmTimer>,
    /// The physical address of the HPET's registers.
    pub hpet: Option<u64>,
    /// The NUMA nodes.
    pub numa: &'static Numa<'static>,
}

/// The lists do not fit into free memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfMemory {
    /// The number of CPUs to list.
    pub cpus: usize,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "out of memory for a list of {} CPUs (max_cpus= limits it)", self.cpus)
    }
}

/// Reserves the tables that firmware left in memory that it reports as usable. Errors are reported later, by
/// [`read_platform`].
///
/// **Context:** the BSP, before any write to that memory.
///
/// # Safety
/// rt0's page tables are in use, and nothing is written to memory outside the image meanwhile.
pub(crate) unsafe fn reserve_tables(boot: &mut BootInfo, address_bits: u8) {
    let (sources, area) = (sources(boot), boot.extended_bios_data);
    // SAFETY: rt0's page tables are in use and nothing outside the image is written meanwhile, guaranteed by the caller
    // (see # Safety). `memory` is dropped at the end of this function.
    let memory = unsafe { EarlyMemory::new(boot.map, address_bits) };
    let _ = tables::find(&memory, sources.into_iter().flatten(), area, &mut |_| {});
}

/// Returns the sources of RSDPs, the most authoritative first.
fn sources(boot: &BootInfo) -> [Option<RsdpSource<'static>>; 2] {
    let by_loader = boot.rsdp.map(|rsdp| match rsdp {
        Rsdp::At(address) => RsdpSource::Loader(address),
        Rsdp::Copy(bytes) => RsdpSource::Copy(bytes),
    });
    [boot.rsdp_by_command_line.map(RsdpSource::CommandLine), by_loader]
}

/// Reads the tables and reports their errors. `bsp` is the CPU that executes this; without a table that lists CPUs it is
/// the only one. At most `max_cpus` CPUs are listed.
///
/// **Context:** the BSP, once.
///
/// # Errors
/// [`OutOfMemory`] if there is no memory for the lists.
pub(crate) fn read_platform(
    boot: &BootInfo,
    bsp: ApicId,
    max_cpus: Option<u32>,
) -> Result<Platform, OutOfMemory> {
    let sink = &mut report_defect;
    // This comes before any table, because no table can lie there.
    let local_apic = crate::cpu::registers::apic_base();
    if let Err(fault) = memory::claim_device(Device::LocalApic, local_apic, LOCAL_APIC_BYTES) {
        let reason = format_args!("invalid address in IA32_APIC_BASE: {fault}");
        report_defect(&Defect { table: "local APIC", address: Some(local_apic), offset: None, reason });
    }
    let found = tables::find(&LiveMemory, sources(boot).into_iter().flatten(), boot.extended_bios_data, sink);
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
        interrupt_sources: &[],
        pm_timer: description.pm_timer,
        hpet: description.hpet,
        numa,
    };
    let Some((madt, address)) = description.madt else {
        let this = CpuEntry { apic_id: bsp, cpu: CpuId::BSP, ..CpuEntry::EMPTY };
        let cpus = memory::alloc_slice_from(core::iter::once(this)).ok_or(OutOfMemory { cpus: 1 })?;
        return Ok(Platform { cpus, ..platform });
    };
    let madt_cpus = MadtCpus::read(&madt, bsp, max_cpus, numa)?;
    let cpu_list = madt_cpus.cpu_list;
    match rsdp {
        Some(rsdp) => log::info!("RSDP at {rsdp:#x}: {cpu_list}"),
        None => log::info!("RSDP passed by the boot loader: {cpu_list}"),
    }
    log::debug!("{} NUMA nodes, local APICs at {:#x}", numa.nodes(), madt.local_apic_address());
    cpu_list.report(bsp, address, sink);
    if cpu_list.left_out > 0 {
        let most = madt_cpus.cpus.len();
        log::warn!("ignoring {} of the listed CPUs: limit {most}", cpu_list.left_out);
    }
    let no_memory = OutOfMemory { cpus: madt_cpus.cpus.len() };
    let pins = irq_routing::nmi_pins(&madt, address, madt_cpus.cpus, &madt_cpus.by_uid, sink);
    let nmi_pins = memory::alloc_slice_from(pins).ok_or(no_memory)?;
    let irq_routing = &description.irq_routing;
    Ok(Platform {
        cpus: madt_cpus.cpus,
        expected: ExpectedCpus {
            by_tables: cpu_list.enabled(),
            disabled: cpu_list.disabled + cpu_list.hot_pluggable,
            hiding: cpu_list.hiding,
            ..platform.expected
        },
        local_apic_address: Some(madt.local_apic_address()),
        nmi_pins,
        io_apics: memory::alloc_slice_from(irq_routing.io_apics.iter().copied()).ok_or(no_memory)?,
        interrupt_sources: memory::alloc_slice_from(irq_routing.interrupt_sources.iter().copied())
            .ok_or(no_memory)?,
        ..platform
    })
}

/// The CPUs of a MADT.
struct MadtCpus {
    cpus: &'static [CpuEntry],
    cpu_list: CpuList,
    /// The index of the CPUs by UID.
    by_uid: IdIndex<'static>,
}

impl MadtCpus {
    #[inline(never)]
    fn read(
        madt: &Madt<'_>,
        bsp: ApicId,
        max_cpus: Option<u32>,
        numa: &Numa<'_>,
    ) -> Result<MadtCpus, OutOfMemory> {
        let room = cpu_list::count_usable(madt).min(max_cpus.unwrap_or(MAX_CPUS) as usize);
        let no_memory = OutOfMemory { cpus: room };
        let slots = memory::alloc_slice_from(core::iter::repeat_n(CpuEntry::EMPTY, room));
        let slots = slots.ok_or(no_memory)?;
        let words = memory::alloc_slice_from(core::iter::repeat_n(0u16, IdIndex::words_for(room)));
        let mut index = IdIndex::new(words.ok_or(no_memory)?, read_tsc());
        let cpu_list = CpuList::fill(madt, bsp, slots, &mut index);
        let (cpus, _) = slots.split_at_mut(cpu_list.cpus as usize);
        numa.assign(cpus, &index);
        index.clear();
        let uid_at = |slot: usize| cpus[slot].uid.unwrap_or(u32::MAX);
        for (slot, cpu) in cpus.iter().enumerate() {
            if let Some(uid) = cpu.uid {
                index.insert(uid, slot, uid_at);
            }
        }
        Ok(MadtCpus { cpus, cpu_list, by_uid: index })
    }
}

/// Reads the NUMA nodes. There is one node if the tables have none or contradict themselves.
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
