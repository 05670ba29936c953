//! The rules, and how a broken one reads.

use core::fmt;

/// A rule that a mapping breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Something in the lower half: the identity map is not gone.
    LowerHalf,
    /// User mode could use it.
    User,
    /// Writable and executable at once.
    WritableAndExecutable,
    /// Executable, and not a page of the image's code.
    ExecutableOutsideText,
    /// Shows the image's code, and is not where the code runs, or not executable there.
    SecondMappingOfText,
    /// Code of the image's that cannot be executed.
    TextMissing,
    /// A constant that can be written.
    ConstantsWritable,
    /// An interrupt descriptor table that can be written.
    InterruptTableWritable,
    /// The trampoline's code, which can be written.
    TrampolineWritable,
    /// Page 0, or the page below a stack.
    GuardMapped,
    /// Neither where the direct map would show it, nor a stack or temporary.
    OutOfPlace,
    /// A device's registers, or a screen, cached.
    DeviceCached,
    /// Memory, and not write-back.
    MemoryNotWriteBack,
    /// The firmware's own, to be written.
    FirmwareWritable,
    /// Leads to where nothing is known to lie.
    NobodysMemory {
        /// The physical address.
        physical: u64,
    },
    /// Its page table lies outside memory.
    TableOutsideMemory {
        /// Where, physical.
        table: u64,
    },
    /// An entry that the processor would refuse.
    Malformed,
    /// Memory in more pages than it takes.
    NeedlesslySmall,
}

/// A rule that is broken, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The first such address.
    pub address: u64,
    /// The rule.
    pub rule: Rule,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page tables: {:#x} ", self.address)?;
        match self.rule {
            Rule::LowerHalf => f.write_str("is mapped, in the lower half"),
            Rule::User => f.write_str("is open to user mode"),
            Rule::WritableAndExecutable => f.write_str("is writable and executable"),
            Rule::ExecutableOutsideText => f.write_str("is executable and not the kernel's code"),
            Rule::SecondMappingOfText => f.write_str("shows the kernel's code a second time"),
            Rule::TextMissing => f.write_str("begins the kernel's code, not all of which is executable"),
            Rule::ConstantsWritable => f.write_str("is a constant and writable"),
            Rule::InterruptTableWritable => f.write_str("is an interrupt descriptor table and writable"),
            Rule::TrampolineWritable => f.write_str("is the AP trampoline's code and writable"),
            Rule::GuardMapped => f.write_str("is mapped, though it is page 0 or the page below a stack"),
            Rule::OutOfPlace => {
                f.write_str("is mapped, neither as part of the direct map nor as a stack nor for a time")
            }
            Rule::DeviceCached => f.write_str("is a device's and cached"),
            Rule::MemoryNotWriteBack => f.write_str("is memory and not write-back"),
            Rule::FirmwareWritable => f.write_str("is the firmware's and writable"),
            Rule::NobodysMemory { physical } => {
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
