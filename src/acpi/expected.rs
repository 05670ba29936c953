//! How many CPUs must be online: the one rule for missing CPUs.
//!
//! A CPU is missing if the tables list it as enabled, or if CPUID counts it, and it did not come online, for whatever
//! reason: it did not answer, there was no page to wake up in, its entry or the whole table was broken. So CPUs count as
//! missing too where ACPI is there and no table lists any, and where a broken entry may have listed some and CPUID does not
//! count those that are listed: it knows nothing of other packages. What was asked for, or cannot be otherwise, is no missing CPU: `max_cpus=`, APIC
//! IDs that xAPIC mode cannot address, CPUs that the tables list as disabled, a machine without ACPI.
//!
//! CPUID counts a package as it was shipped (SDM Vol. 2A, CPUID, leaf 0BH, EBX). Firmware that switches threads or cores off
//! and lists none of them as disabled needs `allow_missing_cpus=on`.

use core::fmt;

use super::entries::Fault;

/// What limits the number of CPUs by intention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuLimit {
    /// The command line's `max_cpus=`.
    MaxCpus(u32),
    /// There are no ACPI tables, nor anything that names some.
    NoAcpi,
}

impl CpuLimit {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            CpuLimit::MaxCpus(_) => "max_cpus",
            CpuLimit::NoAcpi => "no_acpi",
        }
    }
}

/// What is known of the number of CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpectedCpus {
    /// CPUs that the tables list as enabled, the BSP among them; 0 where no table lists CPUs.
    pub by_tables: u32,
    /// CPUs that the tables list otherwise: disabled, or absent but pluggable.
    pub disabled: u32,
    /// CPUs in the BSP's package, by CPUID; 0 where it does not say.
    pub by_cpuid: u32,
    /// What limits the number by intention.
    pub limit: Option<CpuLimit>,
    /// A broken entry of the MADT that may have listed a CPU.
    pub hiding: Option<Fault>,
}

/// Why there are CPUs that nothing lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// CPUID counts more than the tables list.
    ByCpuid {
        /// By CPUID.
        counted: u32,
        /// By the tables, enabled or not.
        listed: u32,
        /// The entry at which the others may have been lost.
        fault: Option<Fault>,
    },
    /// The tables list more than the kernel takes.
    LeftOut {
        /// How many were left out.
        left_out: u32,
        /// How many it takes.
        limit: u32,
    },
    /// An entry is broken that may have listed CPUs, and CPUID does not say how many there are.
    Hidden(Fault),
    /// There are ACPI tables, and none that could be used lists CPUs.
    NoTable,
}

impl fmt::Display for Unlisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unlisted::ByCpuid { counted, listed, fault } => {
                match listed {
                    0 => write!(f, "CPUID counts {counted} CPUs, and no usable ACPI table lists any")?,
                    _ => write!(f, "CPUID counts {counted} CPUs, and the ACPI tables list {listed}")?,
                }
                fault.map_or(Ok(()), |fault| write!(f, ": {fault}"))
            }
            Unlisted::LeftOut { left_out, limit } => {
                write!(f, "{left_out} of the listed CPUs are left out: there may be at most {limit}")
            }
            Unlisted::NoTable => f.write_str("no usable ACPI table lists CPUs"),
            Unlisted::Hidden(fault) => write!(f, "the MADT may list more CPUs: {fault}"),
        }
    }
}

impl ExpectedCpus {
    /// Why there are CPUs beyond the `taken` ones that the kernel has on its list, if there are.
    pub fn unlisted(&self, taken: u32) -> Option<Unlisted> {
        let limit = match self.limit {
            Some(CpuLimit::NoAcpi) => return None,
            Some(CpuLimit::MaxCpus(most)) => most,
            None => u32::MAX,
        };
        if taken >= limit {
            return None;
        }
        if self.by_tables > taken {
            return Some(Unlisted::LeftOut { left_out: self.by_tables - taken, limit: taken });
        }
        let listed = self.by_tables + self.disabled;
        if self.by_cpuid > listed.max(taken) {
            let fault = self.hiding;
            return Some(Unlisted::ByCpuid { counted: self.by_cpuid, listed, fault });
        }
        if self.by_tables == 0 {
            return Some(Unlisted::NoTable);
        }
        // Of a single package CPUID knows all; of more it does not know the others. A count of 1 says nothing: CPUs may all be
        // packages of their own, as in a virtual machine.
        let is_complete = self.by_cpuid > 1 && self.by_cpuid == listed;
        self.hiding.filter(|_| !is_complete).map(Unlisted::Hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::super::entries::Defect;
    use super::*;

    const FAULT: Fault =
        Fault { table: "MADT", offset: 60, entry_type: 0, length: 0, defect: Defect::NoLength };

    fn expected(by_tables: u32, disabled: u32, by_cpuid: u32) -> ExpectedCpus {
        ExpectedCpus { by_tables, disabled, by_cpuid, limit: None, hiding: None }
    }

    #[test]
    fn sound_tables_that_list_as_many_as_cpuid_counts_hide_nothing() {
        assert_eq!(expected(4, 0, 4).unlisted(4), None);
        // Two packages, or a processor that does not say.
        assert_eq!(expected(8, 0, 4).unlisted(8), None);
        assert_eq!(expected(8, 0, 0).unlisted(8), None);
        // Firmware has switched two off, or there is room for two.
        assert_eq!(expected(2, 2, 4).unlisted(2), None);
    }

    #[test]
    fn cpus_that_only_cpuid_counts_are_missing() {
        let missing = expected(2, 1, 4).unlisted(2);
        assert_eq!(missing, Some(Unlisted::ByCpuid { counted: 4, listed: 3, fault: None }));
        let text = "CPUID counts 4 CPUs, and the ACPI tables list 3";
        assert_eq!(missing.unwrap().to_string(), text);
        // No table at all: the kernel lists the BSP itself.
        let missing = expected(0, 0, 4).unlisted(1);
        assert_eq!(missing, Some(Unlisted::ByCpuid { counted: 4, listed: 0, fault: None }));
        // CPUID cannot tell of other packages, or tells nothing.
        assert_eq!(expected(0, 0, 1).unlisted(1), Some(Unlisted::NoTable));
        assert_eq!(expected(0, 0, 0).unlisted(1), Some(Unlisted::NoTable));
    }

    #[test]
    fn a_broken_entry_is_the_reason_where_cpus_lack() {
        let broken =
            |by_tables, by_cpuid| ExpectedCpus { hiding: Some(FAULT), ..expected(by_tables, 0, by_cpuid) };
        let missing = broken(2, 4).unlisted(2).unwrap();
        assert_eq!(missing, Unlisted::ByCpuid { counted: 4, listed: 2, fault: Some(FAULT) });
        assert!(missing.to_string().contains("offset 60"), "{missing}");
        // CPUID counts the four that are listed, and can count no second package.
        assert_eq!(broken(4, 4).unlisted(4), None);
        assert_eq!(broken(8, 4).unlisted(8), Some(Unlisted::Hidden(FAULT)));
        // Each CPU is a package.
        assert_eq!(broken(2, 1).unlisted(2), Some(Unlisted::Hidden(FAULT)));
        assert_eq!(broken(1, 1).unlisted(1), Some(Unlisted::Hidden(FAULT)));
        assert_eq!(broken(1, 0).unlisted(1), Some(Unlisted::Hidden(FAULT)));
    }

    #[test]
    fn a_limit_by_intention_misses_nothing() {
        let limited = |limit| ExpectedCpus { limit: Some(limit), ..expected(8, 0, 8) };
        assert_eq!(limited(CpuLimit::MaxCpus(3)).unlisted(3), None);
        assert_eq!(limited(CpuLimit::NoAcpi).unlisted(1), None);
        // The limit is not reached.
        assert!(limited(CpuLimit::MaxCpus(6)).unlisted(2).is_some());
    }

    #[test]
    fn the_kernels_own_limit_is_no_intention() {
        let missing = expected(5000, 0, 64).unlisted(4096).unwrap();
        assert_eq!(missing, Unlisted::LeftOut { left_out: 904, limit: 4096 });
    }
}
