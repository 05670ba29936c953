//! The two ways to number a CPU. [`CpuId`] is octopod's own, dense, and what tables are indexed by; [`ApicId`] is the
//! hardware's, sparse, and what interrupts are sent to. They are types of their own because every kernel that used
//! one integer for both has at some time indexed a table by an APIC ID.

use core::fmt;

/// octopod's number for a CPU: dense, from 0, in the order of the firmware's list with the bootstrap processor first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct CpuId(pub u32);

impl CpuId {
    /// The bootstrap processor.
    pub const BSP: CpuId = CpuId(0);

    /// The number as an index into a table with one entry for each CPU.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a local APIC: 8 bits under xAPIC, 32 under x2APIC (Intel SDM Vol. 3A, "Local APIC ID").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ApicId(pub u32);

impl ApicId {
    /// The destination that means every CPU under xAPIC, so no CPU's own number there.
    pub const XAPIC_BROADCAST: ApicId = ApicId(0xff);
    /// The destination that means every CPU under x2APIC.
    pub const X2APIC_BROADCAST: ApicId = ApicId(0xffff_ffff);
}

impl fmt::Display for ApicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
