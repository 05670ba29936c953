//! CPU numbers. [`CpuId`] is the kernel's own number: dense, an index for tables. [`ApicId`] is the hardware's: sparse,
//! the destination of interrupts. The types are distinct so that no table is indexed by an APIC ID.

use core::fmt;

/// The kernel's number for a CPU: dense, from 0, in the order of the MADT with the BSP first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct CpuId(pub u32);

impl CpuId {
    /// The bootstrap processor (BSP).
    pub const BSP: CpuId = CpuId(0);

    /// Returns the number as an index into a table with one entry for each CPU.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The ID of a local APIC: 8 bits in xAPIC mode, 32 bits in x2APIC mode (SDM Vol. 3A, 11.4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ApicId(pub u32);

impl ApicId {
    /// The broadcast destination in xAPIC mode. No CPU has this ID there.
    pub const XAPIC_BROADCAST: ApicId = ApicId(0xff);
    /// The broadcast destination in x2APIC mode.
    pub const X2APIC_BROADCAST: ApicId = ApicId(0xffff_ffff);
}

impl fmt::Display for ApicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
