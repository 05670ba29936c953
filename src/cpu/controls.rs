//! The registers by which a CPU reads page tables and refuses what they forbid. The same on every CPU.

use x86_64::registers::control::{Cr0, Cr0Flags, Cr3, Cr4, Cr4Flags};
use x86_64::registers::model_specific::{Efer, EferFlags, Msr};

use super::Features;
use crate::redirectable;

/// The page attribute table (SDM Vol. 4, table 2-2).
const IA32_PAT: u32 = 0x277;

/// What the table holds at reset (SDM Vol. 3A, table 12-12): write-back, write-through, UC-, UC, and the same again.
const PAT_AT_RESET: u64 = 0x0007_0406_0007_0406;

/// What it holds on every CPU of ours: entries 0 to 3 as at reset, so that entries without the PAT bit mean what they
/// always did and the change needs no flush; entry 5 is write-combining, for a display's memory.
const PAT: u64 = 0x0007_0106_0007_0406;

/// The registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controls {
    /// CR0: paging, WP.
    pub cr0: u64,
    /// CR3: the tree.
    pub cr3: u64,
    /// CR4: levels of paging, SMEP, SMAP and the like.
    pub cr4: u64,
    /// EFER: NXE.
    pub efer: u64,
    /// The page attribute table, or what a CPU without one does.
    pub pat: u64,
}

impl Controls {
    /// The part of CR3 that is the root's address.
    pub const CR3_ADDRESS: u64 = 0x000f_ffff_ffff_f000;

    /// This CPU's.
    pub fn read() -> Controls {
        let (root, cr3_flags) = Cr3::read_raw();
        Controls {
            cr0: Cr0::read_raw(),
            cr3: root.start_address().as_u64() | u64::from(cr3_flags),
            cr4: Cr4::read_raw(),
            efer: Efer::read_raw(),
            // SAFETY: reads a register that the processor says it has.
            pat: if has_pat() { unsafe { Msr::new(IA32_PAT).read() } } else { PAT_AT_RESET },
        }
    }

    /// What they should be: `self` with what the kernel wants set or clear, and `root` for a tree.
    pub fn wanted(self, features: &Features, root: u64) -> Controls {
        let mut cr0 = Cr0Flags::from_bits_retain(self.cr0);
        cr0.insert(Cr0Flags::WRITE_PROTECT | Cr0Flags::PAGING);
        cr0.remove(Cr0Flags::CACHE_DISABLE | Cr0Flags::NOT_WRITE_THROUGH);
        let mut cr4 = Cr4Flags::from_bits_retain(self.cr4) | features.protection();
        cr4.remove(Cr4Flags::L5_PAGING | Cr4Flags::PCID);
        let mut efer = EferFlags::from_bits_retain(self.efer);
        efer.insert(EferFlags::NO_EXECUTE_ENABLE | EferFlags::LONG_MODE_ACTIVE);
        let pat = if has_pat() { PAT } else { PAT_AT_RESET };
        Controls { cr0: cr0.bits(), cr3: root, cr4: cr4.bits(), efer: efer.bits(), pat }
    }

    /// The first register that differs: its name, what it is here and what there.
    pub fn first_difference(&self, other: &Controls) -> Option<(&'static str, u64, u64)> {
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

redirectable! {
    /// Gives this CPU our page attribute table, where it has one. Each has its own, and INIT leaves it as it was.
    pub fn set_memory_types() {
        if has_pat() {
            // SAFETY: no mapping uses an entry that changes, so no memory changes its type.
            unsafe { Msr::new(IA32_PAT).write(PAT) };
        }
    }
}

fn has_pat() -> bool {
    raw_cpuid::CpuId::new().get_feature_info().is_some_and(|basic| basic.has_pat())
}
