//! The processor features that the kernel uses, from CPUID.

use core::arch::x86_64::{__cpuid, __cpuid_count};

use raw_cpuid::{CpuId, CpuIdReaderNative};
use x86_64::registers::control::{Cr4, Cr4Flags};
use x86_64::registers::model_specific::Msr;

/// The optional features that the kernel uses. rt0 has checked the required ones.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// 1 GiB pages (CPUID 80000001H:EDX.26).
    pub pages_1g: bool,
    /// The local APIC's x2APIC mode (CPUID 1:ECX.21), if the kernel is to use it.
    pub x2apic: bool,
    /// Firmware has locked the local APIC in x2APIC mode (IA32_XAPIC_DISABLE_STATUS, bit 0: SDM Vol. 4, table 2-2).
    pub x2apic_only: bool,
    /// The APIC timer's TSC-deadline mode (CPUID 1:ECX.24).
    pub tsc_deadline: bool,
    /// Supervisor-mode execution prevention (CPUID 7:EBX.7).
    pub smep: bool,
    /// Supervisor-mode access prevention (CPUID 7:EBX.20).
    pub smap: bool,
    /// User-mode instruction prevention (CPUID 7:ECX.2).
    pub umip: bool,
    /// Instructions for the bases of FS and GS (CPUID 7:EBX.0).
    pub fsgsbase: bool,
    /// Enhanced REP MOVSB and STOSB (CPUID 7:EBX.9).
    pub erms: bool,
    /// The machine-check exception (CPUID 1:EDX.7).
    pub machine_check: bool,
    /// The width of a physical address, in bits.
    pub physical_bits: u8,
    /// The processor needs no delay of 10 ms between INIT and the start-up IPI.
    pub skip_init_delay: bool,
    /// RDTSCP (CPUID 80000001H:EDX.27).
    pub rdtscp: bool,
    /// The TSC runs at a constant rate in all power states (CPUID 80000007H:EDX.8).
    pub invariant_tsc: bool,
    /// CPUID 15H, where it exists: denominator and numerator of the ratio of the TSC to the core crystal clock, and the
    /// frequency of that clock in Hz. Each of them may be 0.
    pub tsc_ratio: Option<(u32, u32, u32)>,
    /// The CPU is virtual (CPUID 1:ECX.31, APM Vol. 3, E.3.2): the hypervisor may stop it at any instruction.
    pub is_virtual: bool,
    /// The TSC's frequency in kHz, if the hypervisor reports it (leaf 40000010H).
    pub hypervisor_tsc_khz: Option<u32>,
}

impl Features {
    /// Reads this CPU's features. **Context:** any.
    pub fn read() -> Features {
        let cpuid = CpuId::new();
        let basic = cpuid.get_feature_info();
        let extended = cpuid.get_extended_feature_info();
        let processor = cpuid.get_extended_processor_and_feature_identifiers();
        Features {
            pages_1g: processor.as_ref().is_some_and(|f| f.has_1gib_pages()),
            x2apic: basic.as_ref().is_some_and(|f| f.has_x2apic()),
            x2apic_only: xapic_is_disabled(),
            tsc_deadline: basic.as_ref().is_some_and(|f| f.has_tsc_deadline()),
            smep: extended.as_ref().is_some_and(|f| f.has_smep()),
            smap: extended.as_ref().is_some_and(|f| f.has_smap()),
            umip: extended.as_ref().is_some_and(|f| f.has_umip()),
            fsgsbase: extended.as_ref().is_some_and(|f| f.has_fsgsbase()),
            erms: extended.as_ref().is_some_and(|f| f.has_rep_movsb_stosb()),
            machine_check: basic.as_ref().is_some_and(|f| f.has_mce()),
            physical_bits: physical_address_bits(),
            skip_init_delay: skip_init_delay(&cpuid),
            rdtscp: processor.as_ref().is_some_and(|f| f.has_rdtscp()),
            invariant_tsc: cpuid.get_advanced_power_mgmt_info().is_some_and(|apm| apm.has_invariant_tsc()),
            tsc_ratio: cpuid
                .get_tsc_info()
                .map(|tsc| (tsc.denominator(), tsc.numerator(), tsc.nominal_frequency())),
            is_virtual: basic.as_ref().is_some_and(|f| f.has_hypervisor()),
            hypervisor_tsc_khz: cpuid
                .get_hypervisor_info()
                .and_then(|hypervisor| hypervisor.tsc_frequency())
                .filter(|khz| *khz > 0),
        }
    }

    /// Enables the protection features in CR4. The APs copy the BSP's control registers.
    ///
    /// **Context:** the BSP, once, before the APs run.
    pub(crate) fn enable(&self) {
        // SAFETY: `read` has found the features in CPUID. SMEP, SMAP and UMIP affect only user pages and user mode, which
        // the kernel does not have.
        unsafe { Cr4::update(|cr4| cr4.insert(self.protection())) };
    }

    /// Returns the CR4 bits of the protection features that the processor has.
    pub(crate) fn protection(&self) -> Cr4Flags {
        let mut flags = Cr4Flags::empty();
        flags.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, self.smep);
        flags.set(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, self.smap);
        flags.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, self.umip);
        flags.set(Cr4Flags::FSGSBASE, self.fsgsbase);
        flags.set(Cr4Flags::MACHINE_CHECK_EXCEPTION, self.machine_check);
        flags
    }
}

/// Returns the width of a physical address in bits (MAXPHYADDR). **Context:** any.
pub(crate) fn physical_address_bits() -> u8 {
    let capacity = CpuId::new().get_processor_capacity_feature_info();
    // Without the leaf: the minimum width of all long-mode processors (APM Vol. 3, E.4.7).
    capacity.map_or(40, |c| c.physical_address_bits())
}

/// Returns the number of CPUs in this CPU's package according to CPUID, or 0 if no leaf has it.
///
/// Leaves 1FH and 0BH count logical processors by level; the last level is the package (SDM Vol. 2A, table 3-8). On AMD,
/// leaf 80000008H counts them (APM Vol. 3, E.4.7). Leaves 1 and 4 only report the number of reserved APIC IDs, which may
/// be higher.
pub(crate) fn package_cpus() -> u32 {
    let cpuid = CpuId::new();
    let levels = [cpuid.get_extended_topology_info_v2(), cpuid.get_extended_topology_info()];
    let counted = levels.into_iter().flatten().find_map(|levels| {
        levels.map(|level| u32::from(level.processors())).max().filter(|count| *count > 0)
    });
    let by_amd = || match cpuid.get_vendor_info().as_ref().map(|vendor| vendor.as_str()) {
        Some("AuthenticAMD" | "HygonGenuine") => {
            let capacity = cpuid.get_processor_capacity_feature_info();
            capacity.map_or(0, |capacity| capacity.num_phys_threads() as u32)
        }
        _ => 0,
    };
    counted.unwrap_or_else(by_amd)
}

/// Returns whether firmware has locked the local APIC in x2APIC mode. Bit 21 of IA32_ARCH_CAPABILITIES reports whether
/// IA32_XAPIC_DISABLE_STATUS exists. CPUID 7:EDX.29 reports whether IA32_ARCH_CAPABILITIES exists.
fn xapic_is_disabled() -> bool {
    if __cpuid(0).eax < 7 || __cpuid_count(7, 0).edx & (1 << 29) == 0 {
        return false;
    }
    const IA32_ARCH_CAPABILITIES: u32 = 0x10a;
    const IA32_XAPIC_DISABLE_STATUS: u32 = 0xbd;
    // SAFETY: CPUID 7:EDX.29 (checked above) reports the MSR. Reading it has no effect.
    let capabilities = unsafe { Msr::new(IA32_ARCH_CAPABILITIES).read() };
    // SAFETY: bit 21 of IA32_ARCH_CAPABILITIES reports the MSR. Reading it has no effect.
    capabilities & (1 << 21) != 0 && unsafe { Msr::new(IA32_XAPIC_DISABLE_STATUS).read() } & 1 != 0
}

/// Returns whether the processor needs no delay after INIT. The delay of 10 ms is for processors with an external APIC.
/// Linux (`smpboot.c`, `smp_quirk_init_udelay`) omits it on Intel family 6 and later, on AMD family 15 and later, and on
/// Hygon.
fn skip_init_delay(cpuid: &CpuId<CpuIdReaderNative>) -> bool {
    let family = cpuid.get_feature_info().map_or(0, |f| u32::from(f.family_id()));
    match cpuid.get_vendor_info().as_ref().map(|v| v.as_str()) {
        Some("GenuineIntel") => family >= 6,
        Some("AuthenticAMD") => family >= 15,
        Some("HygonGenuine") => true,
        _ => false,
    }
}
