//! Records of the boot and of the CPUs' bring-up.

use serde::{Deserialize, Serialize};

use super::hex;

/// The maximum number of stages in a record.
pub const STAGES_IN_RECORD: usize = 24;

/// The maximum number of CPUs that did not come online and have a [`Cpu`] record.
pub const MAX_ABSENT_CPUS: usize = 64;

/// The start times of the stages of the boot, up to the verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BootStages<S> {
    /// Name and start time of each stage, in microseconds after the kernel's entry; in order.
    pub began_us: heapless::Vec<(S, u64), STAGES_IN_RECORD>,
}

/// The progress of the bring-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BringUpProgress {
    /// CPUs that have been sent a start-up IPI, plus the BSP.
    pub called: u32,
    /// CPUs of these that are online.
    pub online: u32,
}

/// The result of the boot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boot<S> {
    /// octopod's version; `None` from old kernels.
    pub version: Option<S>,
    /// The boot protocol: `pvh`, `multiboot1` or `multiboot2`.
    pub protocol: S,
    /// The entropy source of KASLR: `rdseed`, `rdrand`, `tsc`, or `off`.
    pub kaslr: S,
    /// The virtual address of physical address 0.
    #[serde(with = "hex")]
    pub direct_map_base: u64,
    /// The run-time address minus the address in the kernel's ELF file.
    #[serde(with = "hex")]
    pub slide: u64,
    /// The mode of the local APICs: `xapic` or `x2apic`.
    pub apic_mode: S,
    /// The reference clock of the TSC's calibration: `cpuid`, `hypervisor`, `hpet`, `pm_timer` or `pit`.
    pub clock_source: S,
    /// The TSC's frequency, in kHz.
    pub tsc_khz: u64,
    /// The local APIC timer's frequency before its divider, in kHz.
    pub apic_timer_khz: u64,
    /// CPUs that the firmware lists as usable.
    pub cpus_listed: u32,
    /// Other information about their number; `None` from old kernels.
    pub cpus_expected: Option<ExpectedCpus<S>>,
    /// CPUs that came online.
    pub cpus_online: u32,
    /// Time from the kernel's entry to the last CPU online, in microseconds.
    pub entry_to_online_us: u64,
    /// The same, in nanoseconds.
    #[serde(default)]
    pub entry_to_online_ns: u64,
    /// Time from the first INIT to the last CPU online, in microseconds.
    pub init_to_online_us: u64,
    /// The bring-up of the APs and its costs.
    pub bring_up: BringUp,
}

/// Information about the number of CPUs besides the list that the kernel uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedCpus<S> {
    /// CPUs that the ACPI tables list as enabled; 0 if no table lists CPUs.
    pub by_tables: u32,
    /// CPUs that the tables list as disabled, or as absent but hot-pluggable.
    pub disabled: u32,
    /// CPUs in the BSP's package by CPUID; 0 if unknown.
    pub by_cpuid: u32,
    /// Listed CPUs whose APIC IDs do not fit into the 8 bits of xAPIC mode.
    pub unreachable: u32,
    /// The intended limit of the number: `max_cpus`, or `no_acpi` on a machine without ACPI.
    pub limit: Option<S>,
}

/// The bring-up of the APs and its costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BringUp {
    /// The delay after the first INIT, which older processors need, in microseconds.
    pub init_delay_us: u64,
    /// The number of rounds of start-up IPIs; the first goes to all APs, the others to APs that have not started.
    pub start_up_rounds: u32,
    /// The local APIC's error status register after INIT and after each round, combined by OR.
    pub apic_error_status: u32,
    /// The memory for each AP: per-CPU area, stacks, table entries, trace ring. In bytes.
    pub bytes_per_cpu: u64,
    /// Frames that were allocated for all APs, page tables included.
    pub frames_taken: u64,
    /// The physical address of the AP trampoline; 0 if there was no free page below 1 MiB.
    #[serde(with = "hex")]
    pub trampoline_page: u64,
}

/// A CPU that firmware lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cpu<S> {
    /// The CPU number.
    pub cpu: u32,
    /// The APIC ID.
    pub apic_id: u32,
    /// `online`, `failed`, or `not_started` if there is no trampoline, or the APIC ID cannot be addressed.
    pub state: S,
    /// The last stage that it reached, if it failed.
    pub failed_stage: Option<S>,
    /// The time of each stage, in microseconds after the kernel's entry.
    pub stages_us: StagesUs,
}

/// The times at which a CPU reached the stages of its bring-up; `None` for a stage that it did not reach or, on the BSP, that
/// does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StagesUs {
    /// The BSP sent it its first start-up IPI.
    pub sipi_sent: Option<u64>,
    /// It executed the trampoline's first instruction.
    pub real_mode: Option<u64>,
    /// It runs 32-bit code.
    pub protected_mode: Option<u64>,
    /// It runs 64-bit code and has claimed its slot.
    pub long_mode: Option<u64>,
    /// It has its per-CPU area, and runs on the kernel's page tables.
    pub gs: Option<u64>,
    /// Its GDT, TSS and the IDT are loaded.
    pub idt: Option<u64>,
    /// Its local APIC is enabled.
    pub apic: Option<u64>,
    /// Its APIC timer is set up.
    pub timer: Option<u64>,
    /// It accepts work.
    pub online: Option<u64>,
}

impl StagesUs {
    /// Returns all stages with their names, in order.
    pub fn in_order(&self) -> [(&'static str, Option<u64>); 9] {
        [
            ("sipi_sent", self.sipi_sent),
            ("real_mode", self.real_mode),
            ("protected_mode", self.protected_mode),
            ("long_mode", self.long_mode),
            ("gs", self.gs),
            ("idt", self.idt),
            ("apic", self.apic),
            ("timer", self.timer),
            ("online", self.online),
        ]
    }
}
