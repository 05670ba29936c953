//! The rules of the audit, and the violation of one.

use core::fmt;

/// A rule that a mapping breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A mapping in the lower half, for example a leftover of the identity map.
    LowerHalf,
    /// Accessible from ring 3.
    User,
    /// Writable and executable at once.
    WritableAndExecutable,
    /// Executable outside of the image's code.
    ExecutableOutsideText,
    /// A second mapping of the image's code, or one that is not executable.
    SecondMappingOfText,
    /// A part of the image's code is not executable.
    TextMissing,
    /// A writable constant.
    ConstantsWritable,
    /// A writable interrupt descriptor table.
    InterruptTableWritable,
    /// Writable code of the AP trampoline.
    TrampolineWritable,
    /// Page 0, or the guard page below a stack, is mapped.
    GuardMapped,
    /// Neither in the direct map, nor a stack, nor in the region of mappings.
    OutOfPlace,
    /// A page in the region of mappings that is global, so that flushes of the TLBs would not concern it.
    GlobalMapping,
    /// Device registers or a framebuffer with a cached memory type.
    DeviceCached,
    /// RAM that is not write-back.
    MemoryNotWriteBack,
    /// A writable firmware table.
    FirmwareWritable,
    /// Leads to a physical address at which nothing is known to be.
    UnknownTarget {
        /// The physical address.
        physical: u64,
    },
    /// Its page table is not in RAM.
    TableOutsideMemory {
        /// Its physical address.
        table: u64,
    },
    /// An entry with reserved bits set.
    Malformed,
    /// RAM in smaller pages than possible.
    NeedlesslySmall,
}

/// The violation of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The first address that breaks it.
    pub address: u64,
    /// The rule.
    pub rule: Rule,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page tables: {:#x} ", self.address)?;
        match self.rule {
            Rule::LowerHalf => f.write_str("is mapped in the lower half"),
            Rule::User => f.write_str("is accessible from user mode"),
            Rule::WritableAndExecutable => f.write_str("is writable and executable"),
            Rule::ExecutableOutsideText => f.write_str("is executable and not the kernel's code"),
            Rule::SecondMappingOfText => f.write_str("shows the kernel's code a second time"),
            Rule::TextMissing => f.write_str("starts the kernel's code, which is not executable as a whole"),
            Rule::ConstantsWritable => f.write_str("is a writable constant"),
            Rule::InterruptTableWritable => f.write_str("is an interrupt descriptor table and writable"),
            Rule::TrampolineWritable => f.write_str("is the AP trampoline's code and writable"),
            Rule::GuardMapped => f.write_str("is mapped, though it is page 0 or the page below a stack"),
            Rule::OutOfPlace => f.write_str(
                "is mapped, neither as part of the direct map nor as a stack nor in the region of mappings",
            ),
            Rule::GlobalMapping => f.write_str("is global, though it is in the region of mappings"),
            Rule::DeviceCached => f.write_str("is a device's and cached"),
            Rule::MemoryNotWriteBack => f.write_str("is memory and not write-back"),
            Rule::FirmwareWritable => f.write_str("is the firmware's and writable"),
            Rule::UnknownTarget { physical } => {
                write!(f, "leads to {physical:#x}, where nothing is known to lie")
            }
            Rule::TableOutsideMemory { table } => {
                write!(f, "has its page table at {table:#x}, outside memory")
            }
            Rule::Malformed => f.write_str("has an entry that the processor would refuse"),
            Rule::NeedlesslySmall => f.write_str("is mapped in smaller pages than it could be"),
        }
    }
}
