//! The calibrated frequencies of the TSC and of the APIC timer.

/// Where the TSC's frequency comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrequencySource {
    /// CPUID leaf 15H.
    Cpuid,
    /// The hypervisor's timing leaf.
    Hypervisor,
    /// A measurement against the timer of this name.
    Measured(&'static str),
}

impl FrequencySource {
    /// The name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            FrequencySource::Cpuid => "cpuid",
            FrequencySource::Hypervisor => "hypervisor",
            FrequencySource::Measured(reference) => reference,
        }
    }
}

/// The calibrated frequencies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Where the TSC's frequency comes from.
    pub source: FrequencySource,
    /// The TSC's frequency in hertz.
    pub tsc_hz: u64,
    /// The APIC timer's frequency in hertz.
    pub apic_timer_hz: u64,
}
