//! How the kernel came up, and each of its CPUs.

use serde::{Deserialize, Serialize};

use super::hex;

/// How many stages a record of them has room for.
pub const STAGES_IN_RECORD: usize = 16;

/// How many CPUs that did not come online have a [`Cpu`] of their own. Firmware that lists more has lost its way.
pub const MAX_ABSENT_CPUS: usize = 64;

/// When the boot came to each of its stages, up to the verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BootStages<S> {
    /// The stage's name, and when it began, in microseconds after rt0's first look at the TSC; in their order.
    pub began_us: heapless::Vec<(S, u64), STAGES_IN_RECORD>,
}

/// How many CPUs have come so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BringUpProgress {
    /// CPUs that have been called, and the BSP.
    pub called: u32,
    /// Those of them that are online.
    pub online: u32,
}

/// How the kernel came up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boot<S> {
    /// octopod's version in the kernel; absent in reports of old.
    pub version: Option<S>,
    /// The boot protocol that the loader spoke: `pvh`, `multiboot1` or `multiboot2`.
    pub protocol: S,
    /// What the direct map's base was drawn from: `rdseed`, `rdrand`, `tsc`, or `off`.
    pub kaslr: S,
    /// Where physical address 0 is seen.
    #[serde(with = "hex")]
    pub direct_map_base: u64,
    /// What to subtract from an address to find it in the kernel's ELF file.
    #[serde(with = "hex")]
    pub slide: u64,
    /// The local APIC's mode: `xapic` or `x2apic`.
    pub apic_mode: S,
    /// What the TSC was calibrated against: `cpuid`, `hypervisor`, `hpet`, `pm_timer` or `pit`.
    pub clock_source: S,
    /// The TSC's frequency, in kHz.
    pub tsc_khz: u64,
    /// The local APIC timer's frequency before its divider, in kHz.
    pub apic_timer_khz: u64,
    /// CPUs that the firmware lists as usable.
    pub cpus_listed: u32,
    /// What else is known of their number; absent in reports of old.
    pub cpus_expected: Option<ExpectedCpus<S>>,
    /// CPUs that came online.
    pub cpus_online: u32,
    /// From rt0's first look at the TSC to the last CPU online, in microseconds.
    pub entry_to_online_us: u64,
    /// The same, in nanoseconds.
    #[serde(default)]
    pub entry_to_online_ns: u64,
    /// From the first INIT to the last CPU online, in microseconds.
    pub init_to_online_us: u64,
    /// How the other CPUs were called, and what they cost.
    pub bring_up: BringUp,
}

/// What is known of the number of CPUs, beside what the kernel took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedCpus<S> {
    /// CPUs that the ACPI tables list as enabled; 0 where no table lists CPUs.
    pub by_tables: u32,
    /// CPUs that the tables list otherwise: disabled, or absent but pluggable.
    pub disabled: u32,
    /// CPUs in the BSP's package, by CPUID; 0 where it does not say.
    pub by_cpuid: u32,
    /// CPUs on the list that cannot be addressed: their APIC IDs do not fit into xAPIC mode's 8 bits.
    pub unreachable: u32,
    /// What limits the number by intention: `max_cpus`, or `no_acpi` on a machine without ACPI.
    pub limit: Option<S>,
}

/// How the other CPUs were called, and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BringUp {
    /// The wait after the first INIT that older processors need, in microseconds.
    pub init_delay_us: u64,
    /// How many times start-up IPIs were sent, to all CPUs or to those that had given no sign of life.
    pub start_up_rounds: u32,
    /// What the local APIC's error status register held after INIT and after any of those rounds, all in one.
    pub apic_error_status: u32,
    /// What each further CPU costs in memory: area, stacks, lines in tables, ring of trace events. In bytes.
    pub bytes_per_cpu: u64,
    /// Frames that all CPUs but the first took together, page tables included.
    pub frames_taken: u64,
    /// The page below 1 MiB that the CPUs woke up in; 0 where there was none.
    #[serde(with = "hex")]
    pub trampoline_page: u64,
}

/// One CPU that the firmware lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cpu<S> {
    /// octopod's own dense number.
    pub cpu: u32,
    /// The hardware's number.
    pub apic_id: u32,
    /// `online`, `failed`, or `not_started` where there is no page to wake up in, or its APIC ID cannot be reached.
    pub state: S,
    /// Where it was last seen, if it failed.
    pub failed_stage: Option<S>,
    /// When it reached each stage, in microseconds after rt0's first look at the TSC.
    pub stages_us: StagesUs,
}

/// When a CPU reached each stage of its bring-up; `None` for a stage it did not reach or, on the BSP, has not.
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
    /// It takes work.
    pub online: Option<u64>,
}

impl StagesUs {
    /// All stages by their names, in the order in which a CPU goes through them.
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
