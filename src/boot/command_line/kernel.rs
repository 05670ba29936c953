//! The parameters of the kernel as a whole.

use super::{Bounded, Ranges, Switch};
use crate::config::MAX_CPUS;
use crate::console::filter::Filter;
use crate::wire::Nonce;
use crate::{named, parameters};

/// How many ranges `reserve=` may name.
pub const MAX_RESERVED: usize = 8;

named! {
    /// Which events are traced, and where they go.
    pub enum TraceLevel {
        /// None.
        Off = "off",
        /// Rare ones. A panic shows the last 32 of each CPU.
        Panic = "panic",
        /// All, for the shell's `trace dump`.
        All = "all",
        /// All. They are sent to the launcher when the run ends.
        On = "on",
    }
}

parameters! {
    /// The parameters of the kernel as a whole.
    pub struct KernelParameters {
        /// The lines of the log that are shown: a level, and a level for each of some modules.
        pub log: Filter = Filter::default(), "log";
        /// The events that are traced. By default those that a panic reports; in the shell all.
        pub trace: Option<TraceLevel> = None, "trace";
        /// Whether the base of the direct map, and with it the kernel's address, is random. rt0 reads this parameter itself.
        pub kaslr: Switch = Switch::On, "kaslr";
        /// Whether x2APIC mode is used where the processor has it. Without it a CPU with an APIC ID above 254 cannot be started.
        pub x2apic: Switch = Switch::On, "x2apic";
        /// The most CPUs that are started, the BSP included. Further CPUs that firmware lists are ignored.
        pub max_cpus: Option<Bounded<1, MAX_CPUS>> = None, "max_cpus";
        /// Whether a listed CPU that does not start is a warning instead of a failure.
        pub allow_missing_cpus: Switch = Switch::Off, "allow_missing_cpus";
        /// The physical address of the RSDP, instead of the boot loader's.
        pub acpi_rsdp: Option<u64> = None, "acpi_rsdp";
        /// Physical memory that the kernel does not use, from START up to, and without, END. May be given up to eight times.
        pub reserve: Ranges<MAX_RESERVED> = Ranges::NONE, "reserve";
        /// The number in the frame of each record of this run. The launcher draws it.
        pub record_nonce: Option<Nonce> = None, "record_nonce";
    }
}
