//! The expected number of CPUs: the rule for missing CPUs.
//!
//! A CPU is missing if the tables list it as enabled or CPUID counts it, and it did not come online for any reason: it
//! did not respond, there was no page for the trampoline, or its entry or the whole table was invalid. CPUs are also
//! missing if ACPI exists and no table lists any, and if an invalid entry may have listed some and CPUID does not account
//! for all that are listed (it does not count other packages). A CPU is not missing if it is excluded by intention or by
//! the machine: `max_cpus=`, APIC IDs that xAPIC mode cannot address, CPUs that the tables list as disabled, a machine
//! without ACPI.
//!
//! CPUID counts the CPUs of a package as shipped (SDM Vol. 2A, CPUID, leaf 0BH, EBX). Firmware that disables threads or
//! cores and does not list them as disabled needs `allow_missing_cpus=on`.

use core::fmt;

use super::entries::EntryError;

/// An intended limit on the number of CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuLimit {
    /// The command line's `max_cpus=`.
    MaxCpus(u32),
    /// There are no ACPI tables, and nothing names any.
    NoAcpi,
}

impl CpuLimit {
    /// Returns the limit's name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            CpuLimit::MaxCpus(_) => "max_cpus",
            CpuLimit::NoAcpi => "no_acpi",
        }
    }
}

/// The known counts of CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpectedCpus {
    /// CPUs that the tables list as enabled, the BSP included; 0 if no table lists CPUs.
    pub by_tables: u32,
    /// Other CPUs that the tables list: disabled, or absent but pluggable.
    pub disabled: u32,
    /// CPUs in the BSP's package, by CPUID; 0 if CPUID does not report it.
    pub by_cpuid: u32,
    /// The intended limit.
    pub limit: Option<CpuLimit>,
    /// An invalid entry of the MADT that may have listed a CPU.
    pub hiding: Option<EntryError>,
}

/// The reason to assume CPUs that are not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnlistedReason {
    /// CPUID counts more than the tables list.
    ByCpuid {
        /// The number by CPUID.
        counted: u32,
        /// The number in the tables, enabled or not.
        listed: u32,
        /// The invalid entry that may have listed the others.
        error: Option<EntryError>,
    },
    /// The tables list more CPUs than the kernel supports.
    LeftOut {
        /// The number of CPUs that are left out.
        left_out: u32,
        /// The maximum number.
        limit: u32,
    },
    /// An invalid entry may have listed CPUs, and CPUID does not report their number.
    Hidden(EntryError),
    /// There are ACPI tables, but no usable one lists CPUs.
    NoTable,
}

impl fmt::Display for UnlistedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnlistedReason::ByCpuid { counted, listed, error } => {
                match listed {
                    0 => write!(f, "CPUID counts {counted} CPUs, and no usable ACPI table lists any")?,
                    _ => write!(f, "CPUID counts {counted} CPUs, and the ACPI tables list {listed}")?,
                }
                error.map_or(Ok(()), |error| write!(f, ": {error}"))
            }
            UnlistedReason::LeftOut { left_out, limit } => {
                write!(f, "ignoring {left_out} of the listed CPUs: limit {limit}")
            }
            UnlistedReason::NoTable => f.write_str("no usable ACPI table lists CPUs"),
            UnlistedReason::Hidden(error) => write!(f, "the MADT may list more CPUs: {error}"),
        }
    }
}

impl ExpectedCpus {
    /// Returns the reason to assume CPUs beyond the `taken` ones of the kernel's list, if there is one.
    pub fn unlisted(&self, taken: u32) -> Option<UnlistedReason> {
        let limit = match self.limit {
            Some(CpuLimit::NoAcpi) => return None,
            Some(CpuLimit::MaxCpus(most)) => most,
            None => u32::MAX,
        };
        if taken >= limit {
            return None;
        }
        if self.by_tables > taken {
            return Some(UnlistedReason::LeftOut { left_out: self.by_tables - taken, limit: taken });
        }
        let listed = self.by_tables + self.disabled;
        if self.by_cpuid > listed.max(taken) {
            let error = self.hiding;
            return Some(UnlistedReason::ByCpuid { counted: self.by_cpuid, listed, error });
        }
        if self.by_tables == 0 {
            return Some(UnlistedReason::NoTable);
        }
        // CPUID counts all CPUs of one package, but no other package. A count of 1 is no evidence: each CPU may be a
        // package of its own, as in a virtual machine.
        let is_complete = self.by_cpuid > 1 && self.by_cpuid == listed;
        self.hiding.filter(|_| !is_complete).map(UnlistedReason::Hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::super::entries::EntryDefect;
    use super::*;

    const ERROR: EntryError =
        EntryError { table: "MADT", offset: 60, entry_type: 0, length: 0, defect: EntryDefect::NoLength };

    fn expected(by_tables: u32, disabled: u32, by_cpuid: u32) -> ExpectedCpus {
        ExpectedCpus { by_tables, disabled, by_cpuid, limit: None, hiding: None }
    }

    #[test]
    fn tables_that_agree_with_cpuid_have_no_missing_cpus() {
        assert_eq!(expected(4, 0, 4).unlisted(4), None);
        // Two packages, or a processor that does not report a count.
        assert_eq!(expected(8, 0, 4).unlisted(8), None);
        assert_eq!(expected(8, 0, 0).unlisted(8), None);
        // Firmware has disabled two CPUs, or two can be plugged in.
        assert_eq!(expected(2, 2, 4).unlisted(2), None);
    }

    #[test]
    fn cpus_that_only_cpuid_counts_are_missing() {
        let missing = expected(2, 1, 4).unlisted(2);
        assert_eq!(missing, Some(UnlistedReason::ByCpuid { counted: 4, listed: 3, error: None }));
        let text = "CPUID counts 4 CPUs, and the ACPI tables list 3";
        assert_eq!(missing.unwrap().to_string(), text);
        // No table at all: the kernel lists the BSP itself.
        let missing = expected(0, 0, 4).unlisted(1);
        assert_eq!(missing, Some(UnlistedReason::ByCpuid { counted: 4, listed: 0, error: None }));
        // CPUID does not count other packages, or reports nothing.
        assert_eq!(expected(0, 0, 1).unlisted(1), Some(UnlistedReason::NoTable));
        assert_eq!(expected(0, 0, 0).unlisted(1), Some(UnlistedReason::NoTable));
    }

    #[test]
    fn an_invalid_entry_is_named_as_the_reason_for_missing_cpus() {
        let broken =
            |by_tables, by_cpuid| ExpectedCpus { hiding: Some(ERROR), ..expected(by_tables, 0, by_cpuid) };
        let missing = broken(2, 4).unlisted(2).unwrap();
        assert_eq!(missing, UnlistedReason::ByCpuid { counted: 4, listed: 2, error: Some(ERROR) });
        assert!(missing.to_string().contains("offset 60"), "{missing}");
        // CPUID counts the four that are listed, and can count no second package.
        assert_eq!(broken(4, 4).unlisted(4), None);
        assert_eq!(broken(8, 4).unlisted(8), Some(UnlistedReason::Hidden(ERROR)));
        // Each CPU is a package.
        assert_eq!(broken(2, 1).unlisted(2), Some(UnlistedReason::Hidden(ERROR)));
        assert_eq!(broken(1, 1).unlisted(1), Some(UnlistedReason::Hidden(ERROR)));
        assert_eq!(broken(1, 0).unlisted(1), Some(UnlistedReason::Hidden(ERROR)));
    }

    #[test]
    fn an_intended_limit_has_no_missing_cpus() {
        let limited = |limit| ExpectedCpus { limit: Some(limit), ..expected(8, 0, 8) };
        assert_eq!(limited(CpuLimit::MaxCpus(3)).unlisted(3), None);
        assert_eq!(limited(CpuLimit::NoAcpi).unlisted(1), None);
        // The limit is not reached.
        assert!(limited(CpuLimit::MaxCpus(6)).unlisted(2).is_some());
    }

    #[test]
    fn the_kernels_own_limit_is_reported_as_left_out() {
        let missing = expected(5000, 0, 64).unlisted(4096).unwrap();
        assert_eq!(missing, UnlistedReason::LeftOut { left_out: 904, limit: 4096 });
    }
}
