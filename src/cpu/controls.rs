//! Control registers that determine paging and protection. All CPUs use the same values.

use x86_64::registers::control::{Cr0, Cr0Flags, Cr3, Cr4, Cr4Flags};
use x86_64::registers::model_specific::{Efer, EferFlags, Msr};

use super::{Features, pat};
use crate::patchable;

/// The control registers of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ControlRegisters {
    /// CR0: paging, WP.
    pub cr0: u64,
    /// CR3: the physical address of the PML4.
    pub cr3: u64,
    /// CR4: paging levels, SMEP, SMAP and the like.
    pub cr4: u64,
    /// EFER: NXE.
    pub efer: u64,
    /// IA32_PAT, or its reset value on a CPU without a PAT.
    pub pat: u64,
}

impl ControlRegisters {
    /// The bits of CR3 that hold the physical address of the PML4.
    pub(crate) const CR3_ADDRESS: u64 = 0x000f_ffff_ffff_f000;

    /// Reads this CPU's registers.
    ///
    /// **Context:** any.
    pub(crate) fn read() -> ControlRegisters {
        let (root, cr3_flags) = Cr3::read_raw();
        ControlRegisters {
            cr0: Cr0::read_raw(),
            cr3: root.start_address().as_u64() | u64::from(cr3_flags),
            cr4: Cr4::read_raw(),
            efer: Efer::read_raw(),
            // SAFETY: the MSR exists, because `has_pat` is true; reading it has no effect.
            pat: if has_pat() { unsafe { Msr::new(pat::IA32_PAT).read() } } else { pat::AT_RESET },
        }
    }

    /// Returns `self` with the bits that the kernel requires set or cleared, and `root` as the physical address of the
    /// PML4.
    pub(crate) fn with_kernel_bits(self, features: &Features, root: u64) -> ControlRegisters {
        let mut cr0 = Cr0Flags::from_bits_retain(self.cr0);
        cr0.insert(Cr0Flags::WRITE_PROTECT | Cr0Flags::PAGING);
        cr0.remove(Cr0Flags::CACHE_DISABLE | Cr0Flags::NOT_WRITE_THROUGH);
        let mut cr4 = Cr4Flags::from_bits_retain(self.cr4) | features.protection();
        cr4.remove(Cr4Flags::L5_PAGING | Cr4Flags::PCID);
        let mut efer = EferFlags::from_bits_retain(self.efer);
        efer.insert(EferFlags::NO_EXECUTE_ENABLE | EferFlags::LONG_MODE_ACTIVE);
        let pat = if has_pat() { pat::KERNEL } else { pat::AT_RESET };
        ControlRegisters { cr0: cr0.bits(), cr3: root, cr4: cr4.bits(), efer: efer.bits(), pat }
    }

    /// Returns the first register that differs from `other`: its name, the value in `self` and the value in `other`.
    pub(crate) fn first_difference(&self, other: &ControlRegisters) -> Option<(&'static str, u64, u64)> {
        [
            ("CR0", self.cr0, other.cr0),
            ("CR3", self.cr3, other.cr3),
            ("CR4", self.cr4, other.cr4),
            ("EFER", self.efer, other.efer),
            ("PAT", self.pat, other.pat),
        ]
        .into_iter()
        .find(|(_, is, should)| is != should)
    }
}

patchable! {
    /// Writes the kernel's page attribute table to IA32_PAT, if this CPU has one. Each CPU has its own; INIT does not
    /// change it.
    ///
    /// **Context:** once on each CPU, interrupts off.
    pub(crate) fn set_memory_types() {
        if has_pat() {
            // SAFETY: the MSR exists, because `has_pat` is true. No mapping uses an entry that changes (`pat::KERNEL`), so no
            // memory changes its type.
            unsafe { Msr::new(pat::IA32_PAT).write(pat::KERNEL) };
        }
    }
}

fn has_pat() -> bool {
    raw_cpuid::CpuId::new().get_feature_info().is_some_and(|basic| basic.has_pat())
}
